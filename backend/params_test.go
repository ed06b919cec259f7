package backend_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

func params(query string) *backend.Params {
	return backend.NewParams(&url.URL{RawQuery: query})
}

func TestParamsAreReadByTheirType(t *testing.T) {
	p := params("name=a%26b&pool=-3&tls=true&lease=1m30s&empty=")
	if got := p.String("name", "x"); got != "a&b" {
		t.Errorf("String = %q", got)
	}
	if got := p.Int("pool", 1); got != -3 {
		t.Errorf("Int = %d", got)
	}
	if got := p.Bool("tls", false); got != true {
		t.Errorf("Bool = %t", got)
	}
	if got := p.Duration("lease", 0); got != 90*time.Second {
		t.Errorf("Duration = %v", got)
	}
	if got := p.String("empty", "x"); got != "" {
		t.Errorf("String of an empty parameter = %q", got)
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestMissingParamsHaveTheirDefault(t *testing.T) {
	p := params("")
	if p.String("name", "x") != "x" || p.Int("pool", 7) != 7 || !p.Bool("tls", true) || p.Duration("lease", 9) != 9 {
		t.Error("a default was not returned")
	}
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

func TestUnknownParamListsTheKnown(t *testing.T) {
	p := params("pool=1&pol=canary&zzz=canary")
	p.Int("pool", 1)
	p.Int("pool", 2) // asked for twice, listed once
	p.Duration("lease", 0)
	wantError(t, p.Err(), `unknown parameter "pol" (known: lease, pool)`)
	wantError(t, params("x=1").Err(), `unknown parameter "x" (known: none)`)
}

func TestParamErrorsNameTheParamAndHideItsValue(t *testing.T) {
	tests := map[string]struct {
		query string
		read  func(*backend.Params)
		want  string
	}{
		"not an integer": {"pool=canary", func(p *backend.Params) { p.Int("pool", 1) }, "parameter pool is not an integer"},
		"too large":      {"pool=99999999999999999999", func(p *backend.Params) { p.Int("pool", 1) }, "parameter pool is not an integer"},
		"an empty one":   {"pool=", func(p *backend.Params) { p.Int("pool", 1) }, "parameter pool is not an integer"},
		"not a boolean":  {"tls=canary", func(p *backend.Params) { p.Bool("tls", true) }, "parameter tls is neither true nor false"},
		"not a duration": {"lease=30", func(p *backend.Params) { p.Duration("lease", 1) }, "parameter lease is not a duration such as 30s"},
		"twice":          {"name=canary&name=b", func(p *backend.Params) { p.String("name", "") }, "parameter name stands twice"},
		"a bad escape":   {"name=canary%zz", func(p *backend.Params) { p.String("name", "") }, "the URL's parameters do not parse"},
		"a semicolon":    {"name=canary;x=1", func(p *backend.Params) { p.String("name", "") }, "the URL's parameters do not parse"},
		"the first of several": {"a=canary&b=canary&c=canary", func(p *backend.Params) { p.Int("b", 1); p.Int("a", 1) },
			"parameter b is not an integer"},
		"without a value": {"canary", func(p *backend.Params) { p.Int("pool", 1) }, "unknown parameter without a value (known: pool)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := params(tt.query)
			tt.read(p)
			err := p.Err()
			wantError(t, err, tt.want)
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error tells the value: %v", err)
			}
		})
	}
}

func TestUnreadableParamHasItsDefault(t *testing.T) {
	if got := params("pool=x").Int("pool", 7); got != 7 {
		t.Errorf("Int = %d, want 7", got)
	}
}
