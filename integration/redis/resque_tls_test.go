package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/integration/brokers"
)

// authority signs certificates for a test.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string // the certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.certificate, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.file = a.write("ca.pem", "CERTIFICATE", a.certificate.Raw)
	return a
}

// sign makes a certificate, which signs itself when there is none yet.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

func (a *authority) write(name, kind string, raw []byte) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// serve puts TLS in front of a server, under the given names, and returns the
// port.
func (a *authority) serve(server string, config *tls.Config, names ...string) string {
	a.t.Helper()
	template := &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	certificate, key := a.sign(template)
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				redis, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer redis.Close()
				go func() {
					defer redis.Close()
					io.Copy(redis, client)
				}()
				io.Copy(client, redis)
			}()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	return port
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	ours := newAuthority(t)
	port := ours.serve(server.Addr(), new(tls.Config), "localhost", "redis.example.org")
	trusted := "?tls_ca=" + ours.file
	usable(t, "rediss://localhost:"+port+trusted)
	usable(t, "rediss://127.0.0.1:"+port+trusted+"&tls_server_name=redis.example.org")
	usable(t, "rediss://localhost:"+port+"/3"+trusted+"&tls=true")

	for name, address := range map[string]string{
		"an authority that is not trusted": "rediss://localhost:" + port,
		"another authority":                "rediss://localhost:" + port + "?tls_ca=" + newAuthority(t).file,
		"another name":                     "rediss://localhost:" + port + trusted + "&tls_server_name=other.example.org",
		"a name that it does not have":     "rediss://127.0.0.1:" + port + trusted,
	} {
		if text := refused(t, address, backend.ErrUnavailable); !strings.Contains(text, "certificate") {
			t.Errorf("%s: the error does not speak of the certificate: %s", name, text)
		}
	}
}

func TestTLSShowsTheCertificateOfTheClient(t *testing.T) {
	t.Parallel()
	server := brokers.Redis(t)
	ours := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.certificate)
	port := ours.serve(server.Addr(), &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}, "localhost")
	certificate, key := ours.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	address := "rediss://localhost:" + port + "?tls_ca=" + ours.file
	if text := refused(t, "rediss://"+server.Addr()+"?dial_timeout=1s", backend.ErrUnavailable); !strings.Contains(text, "dial timeout") {
		t.Errorf("of a server without TLS: %s", text)
	}
	usable(t, address+"&tls_cert="+ours.write("client.pem", "CERTIFICATE", certificate.Raw)+"&tls_key="+ours.write("client.key", "PRIVATE KEY", raw))
	if b, err := backend.Open(t.Context(), address); err == nil {
		b.Close()
		t.Error("without a certificate it was opened")
	}
}
