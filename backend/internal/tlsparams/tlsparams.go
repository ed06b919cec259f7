// Package tlsparams reads the parameters of TLS in a driver's URL. They are the
// same for every driver:
//
//	tls_ca=             PEM file of the authorities, instead of the system's
//	tls_cert=  tls_key= PEM files of the client's own certificate
//	tls_server_name=    what the server's certificate must be for
package tlsparams

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/goferhq/queue/backend"
)

// Read returns the settings of TLS that p has, for a URL that wants TLS, and nil
// for one that does not. Whether it does is the driver's to say: by the scheme,
// by a parameter, or by either.
//
// Parameters of TLS in a URL that wants none are an error, or its author would
// believe to be safe. It says to write what remedy has, such as "amqps://".
//
// Errors wrap [backend.ErrInvalid]. Call Read before p.Err, which reports a
// parameter that stands twice.
func Read(p *backend.Params, wanted bool, remedy string) (*tls.Config, error) {
	authorities, name := p.String("tls_ca", ""), p.String("tls_server_name", "")
	certificate, key := p.String("tls_cert", ""), p.String("tls_key", "")
	if !wanted {
		if authorities != "" || name != "" || certificate != "" || key != "" {
			return nil, fmt.Errorf("%w: the URL has parameters of TLS, but no TLS: write %s", backend.ErrInvalid, remedy)
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("%w: tls_ca: %w", backend.ErrInvalid, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: tls_ca: no certificate in the file", backend.ErrInvalid)
		}
	}
	if certificate != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("%w: tls_cert and tls_key: %w", backend.ErrInvalid, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
