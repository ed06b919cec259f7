// Package hosts reads the hosts of a driver's URL.
package hosts

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/goferhq/queue/backend"
)

// WithPorts returns hosts as addresses to dial, each with its port or, where it
// has none, with port. An IPv6 address may stand in brackets, and must when a
// port follows. An only host that is empty, with a port or without, is
// localhost.
//
// Of a URL they are strings.Split(u.Host, ",").
//
// An error wraps [backend.ErrInvalid]: that there are no hosts, that one of
// several is empty, that a port is not from 1 to 65535, or that an address
// stands twice.
func WithPorts(hosts []string, port string) ([]string, error) {
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%w: no address of a server", backend.ErrInvalid)
	}
	addresses := make([]string, len(hosts))
	for i, host := range hosts {
		name, number, err := net.SplitHostPort(host)
		if err != nil {
			name, number = strings.Trim(host, "[]"), port
		}
		if name == "" && len(hosts) == 1 {
			name = "localhost"
		}
		if name == "" {
			return nil, fmt.Errorf("%w: a host between two commas is empty", backend.ErrInvalid)
		}
		if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%w: port %.20q of host %.100q is not from 1 to 65535", backend.ErrInvalid, number, name)
		}
		address := net.JoinHostPort(name, number)
		if slices.Contains(addresses[:i], address) {
			return nil, fmt.Errorf("%w: host %s stands twice", backend.ErrInvalid, address)
		}
		addresses[i] = address
	}
	return addresses, nil
}
