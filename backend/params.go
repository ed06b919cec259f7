package backend

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Params reads the parameters of a driver's URL. Each getter makes its name
// known; Err then reports the first value that could not be read, or a
// parameter that no getter asked for. No error shows a value, since values
// can be secrets.
//
//	p := backend.NewParams(u)
//	pool := p.Int("pool", 10)
//	lease := p.Duration("lease", 30*time.Second)
//	if err := p.Err(); err != nil { … }
//
// It is not safe for concurrent use.
type Params struct {
	values url.Values
	known  []string
	err    error
}

// NewParams returns the parameters of u.
func NewParams(u *url.URL) *Params {
	p := &Params{}
	var err error
	if p.values, err = url.ParseQuery(u.RawQuery); err != nil {
		p.err = fmt.Errorf("%w: the URL's parameters do not parse; percent-encode their special characters", ErrInvalid)
	}
	return p
}

func (p *Params) get(name string) (string, bool) {
	p.known = append(p.known, name)
	values := p.values[name]
	if len(values) > 1 {
		p.fail(name, "stands twice")
	}
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

func (p *Params) fail(name, problem string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: parameter %s %s", ErrInvalid, name, problem)
	}
}

// String returns the parameter name, or missing when it is not there.
func (p *Params) String(name, missing string) string {
	if v, ok := p.get(name); ok {
		return v
	}
	return missing
}

// Int returns the parameter name as an integer.
func (p *Params) Int(name string, missing int) int {
	return parse(p, name, missing, strconv.Atoi, "is not an integer")
}

// Bool returns the parameter name as a boolean: 1, true, 0, false, as
// [strconv.ParseBool] has them.
func (p *Params) Bool(name string, missing bool) bool {
	return parse(p, name, missing, strconv.ParseBool, "is neither true nor false")
}

// Duration returns the parameter name as a duration such as 30s or 1m30s.
func (p *Params) Duration(name string, missing time.Duration) time.Duration {
	return parse(p, name, missing, time.ParseDuration, "is not a duration such as 30s")
}

func parse[T any](p *Params, name string, missing T, convert func(string) (T, error), problem string) T {
	text, ok := p.get(name)
	if !ok {
		return missing
	}
	v, err := convert(text)
	if err != nil {
		p.fail(name, problem)
		return missing
	}
	return v
}

// Err returns an error that wraps [ErrInvalid] when a parameter could not be
// read or is unknown. Call it after the last getter.
func (p *Params) Err() error {
	if p.err != nil {
		return p.err
	}
	known := slices.Compact(slices.Sorted(slices.Values(p.known)))
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if slices.Contains(known, name) {
			continue
		}
		shown := "parameter " + strconv.Quote(name)
		if p.values.Get(name) == "" {
			shown = "parameter without a value" // perhaps the end of one with an &
		}
		return fmt.Errorf("%w: unknown %s (known: %s)", ErrInvalid, shown, list(known))
	}
	return nil
}
