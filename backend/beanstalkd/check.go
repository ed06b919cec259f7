package beanstalkd

import (
	"context"
	"errors"
	"fmt"

	"github.com/goferhq/queue/backend"
)

// Check looks for servers that put jobs at risk or take no part.
func (b *Backend) Check(ctx context.Context) ([]string, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	found := make([][]string, len(b.servers))
	err := b.onAll(ctx, func(i int, s *server) error {
		stats, err := s.stats(ctx)
		if errors.Is(err, backend.ErrUnavailable) {
			found[i] = []string{fmt.Sprintf("%v; the jobs that it holds wait until it is back: start it, or take it out of the URL", err)}
			return nil
		}
		found[i] = s.warnings(stats)
		return err
	})
	if err != nil {
		return nil, err
	}
	var warnings []string
	for _, some := range found {
		warnings = append(warnings, some...)
	}
	return warnings, nil
}

// warnings returns what stats of the server tell that is not as it should be.
func (s *server) warnings(stats map[string]string) (warnings []string) {
	if stats["binlog-current-index"] == "0" {
		warnings = append(warnings, fmt.Sprintf("beanstalkd at %s has no binlog: a restart or a crash of it loses every job; run it with -b and a directory", s.address))
	}
	if drains(stats) {
		warnings = append(warnings, fmt.Sprintf("beanstalkd at %s is in drain mode (SIGUSR1): it takes neither new jobs nor retries; restart it", s.address))
	}
	return warnings
}
