package tlsparams_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/backend/internal/tlsparams"
)

// read does what a driver does whose scheme alone decides.
func read(query url.Values, wanted bool) (*tls.Config, error) {
	p := backend.NewParams(&url.URL{RawQuery: query.Encode()})
	c, err := tlsparams.Read(p, wanted, "amqps://")
	if err == nil {
		err = p.Err()
	}
	return c, err
}

// files writes a certificate that signs itself, and its key.
func files(t *testing.T) (certificate, key string, parsed *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"h"}}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return write(t, "CERTIFICATE", raw), write(t, "PRIVATE KEY", rawKey), parsed
}

func write(t *testing.T, kind string, raw []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestThereIsNoTLSUnlessItIsWanted(t *testing.T) {
	if c, err := read(nil, false); c != nil || err != nil {
		t.Errorf("not wanted: got %v, %v, want none", c, err)
	}
	c, err := read(nil, true)
	if err != nil || c == nil {
		t.Fatalf("wanted: got %v, %v", c, err)
	}
	if c.MinVersion != tls.VersionTLS12 || c.InsecureSkipVerify || c.ServerName != "" || c.RootCAs != nil || c.Certificates != nil {
		t.Errorf("without parameters it is not that of the system: %+v", c)
	}
}

func TestTheParametersOfTLSAreRead(t *testing.T) {
	certificate, key, parsed := files(t)
	c, err := read(url.Values{"tls_ca": {certificate}, "tls_cert": {certificate}, "tls_key": {key}, "tls_server_name": {"example.org"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerName != "example.org" || c.InsecureSkipVerify {
		t.Errorf("the server's name is %q, and whether it is not checked %t", c.ServerName, c.InsecureSkipVerify)
	}
	want := x509.NewCertPool()
	want.AddCert(parsed)
	if !want.Equal(c.RootCAs) {
		t.Error("the authorities are not those of tls_ca")
	}
	if len(c.Certificates) != 1 || !parsed.Equal(c.Certificates[0].Leaf) {
		t.Error("the client's certificate is not that of tls_cert")
	}
}

func TestParametersOfTLSWithoutTLSAreRefused(t *testing.T) {
	for _, name := range []string{"tls_ca", "tls_cert", "tls_key", "tls_server_name"} {
		c, err := read(url.Values{name: {"geheim"}}, false)
		if c != nil || !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), "write amqps://") {
			t.Errorf("%s: got %v, %v, want ErrInvalid and what to write", name, c, err)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error shows the value: %v", name, err)
		}
	}
}

func TestParametersOfTLSThatAreWrongAreRefused(t *testing.T) {
	certificate, key, _ := files(t)
	_, other, _ := files(t)
	for what, test := range map[string]struct {
		query url.Values
		says  string
	}{
		"no file of authorities":            {url.Values{"tls_ca": {"/nowhere/ca.pem"}}, "tls_ca"},
		"no authority in the file":          {url.Values{"tls_ca": {key}}, "no certificate"},
		"no file of a certificate":          {url.Values{"tls_cert": {"/nowhere/c.pem"}, "tls_key": {key}}, "tls_cert"},
		"a certificate without its key":     {url.Values{"tls_cert": {certificate}}, "tls_key"},
		"a key without its certificate":     {url.Values{"tls_key": {key}}, "tls_cert"},
		"the key of another":                {url.Values{"tls_cert": {certificate}, "tls_key": {other}}, "tls_key"},
		"a parameter twice":                 {url.Values{"tls_server_name": {"a", "b"}}, "twice"},
		"a parameter that is none of these": {url.Values{"tls_name": {"a"}}, "known: tls_ca, tls_cert, tls_key, tls_server_name"},
	} {
		if _, err := read(test.query, true); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want ErrInvalid and %q", what, err, test.says)
		}
	}
}
