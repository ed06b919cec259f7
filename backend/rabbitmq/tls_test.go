package rabbitmq_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// identity is a certificate that signs itself, for hosts, and the files of it.
func identity(t *testing.T, hosts ...string) (pair tls.Certificate, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: raw}, key: {Type: "PRIVATE KEY", Bytes: rawKey}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	return pair, certificate, key
}

func TestTLSIsSpokenToWhomTheURLSays(t *testing.T) {
	here, ofHere, _ := identity(t, "127.0.0.1")
	named, ofNamed, _ := identity(t, "mq.example.org")
	for what, c := range map[string]struct {
		server     tls.Certificate
		parameters url.Values
		taken      bool
	}{
		"the host is that of the URL":   {here, url.Values{"tls_ca": {ofHere}}, true},
		"the host has the name":         {named, url.Values{"tls_ca": {ofNamed}, "tls_server_name": {"mq.example.org"}}, true},
		"the authority is not known":    {here, nil, false},
		"the authority is another":      {here, url.Values{"tls_ca": {ofNamed}}, false},
		"the host is not that of a URL": {named, url.Values{"tls_ca": {ofNamed}}, false},
		"the host has another name":     {named, url.Values{"tls_ca": {ofNamed}, "tls_server_name": {"example.org"}}, false},
	} {
		s := serve(t, manners{tls: &tls.Config{Certificates: []tls.Certificate{c.server}}})
		address := "amqps://ann:geheim@" + s.address + "/mail?" + c.parameters.Encode()
		if !c.taken {
			if err := refused(t.Context(), t, address); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("%s: got %v, want ErrUnavailable and that it is the certificate", what, err)
			}
			continue
		}
		opened(t, address).Close()
		if got := s.heard(); len(got) != 2 || got[0].password != "geheim" || got[0].vhost != "mail" {
			t.Errorf("%s: the server was told %+v", what, got)
		}
	}
}

func TestTheServerIsShownTheCertificateOfTheURL(t *testing.T) {
	host, authority, _ := identity(t, "127.0.0.1")
	_, certificate, key := identity(t, "worker")
	shown := make(chan string, 10)
	s := serve(t, manners{tls: &tls.Config{
		Certificates: []tls.Certificate{host},
		ClientAuth:   tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			shown <- state.PeerCertificates[0].DNSNames[0]
			return nil
		},
	}})
	parameters := url.Values{"tls_ca": {authority}, "tls_cert": {certificate}, "tls_key": {key}}
	opened(t, "amqps://"+s.address+"?"+parameters.Encode()).Close()
	if got := []string{<-shown, <-shown}; !slices.Equal(got, []string{"worker", "worker"}) {
		t.Errorf("it was shown %q", got)
	}
	without := "amqps://ann:geheim@" + s.address + "?" + url.Values{"tls_ca": {authority}}.Encode()
	if err := refused(t.Context(), t, without); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("without a certificate: got %v, want ErrUnavailable", err)
	}
}

func TestWhoDoesNotSpeakTLSIsUnavailable(t *testing.T) {
	host, authority, _ := identity(t, "127.0.0.1")
	plain, encrypted := serve(t, manners{}), serve(t, manners{tls: &tls.Config{Certificates: []tls.Certificate{host}}})
	for _, address := range []string{
		"amqps://ann:geheim@" + plain.address + "?timeout=100ms&tls_ca=" + url.QueryEscape(authority),
		"amqp://ann:geheim@" + encrypted.address + "?timeout=100ms",
	} {
		if err := refused(t.Context(), t, address); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", address, err)
		}
	}
}
