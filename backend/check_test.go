package backend_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

func TestCheckMessageTakesWhatTheLimitsAllow(t *testing.T) {
	limits := backend.Limits{MaxDelay: time.Hour, MinPriority: -5, MaxPriority: 9}
	for what, test := range map[string]struct {
		message backend.Message
		limits  backend.Limits
	}{
		"the least":                      {backend.Message{}, limits},
		"the longest delay":              {backend.Message{Delay: time.Hour}, limits},
		"any delay without a limit":      {backend.Message{Delay: math.MaxInt64}, backend.Limits{}},
		"the lowest priority":            {backend.Message{Priority: -5}, limits},
		"the highest priority":           {backend.Message{Priority: 9}, limits},
		"args whose size is not checked": {backend.Message{Args: make([]byte, 2)}, backend.Limits{MaxBody: 1}},
	} {
		m := test.message
		m.ID, m.Kind, m.Queue = "1", "k", "q"
		if err := backend.CheckMessage(&m, test.limits); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCheckMessageRefusesWhatNoBrokerTakes(t *testing.T) {
	if err := backend.CheckMessage(nil, backend.Limits{}); !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("no message: got %v, want ErrInvalid", err)
	}
	for says, m := range map[string]backend.Message{
		"no ID":                {Kind: "k", Queue: "q"},
		"no kind":              {ID: "1", Queue: "q"},
		"the queue has no":     {ID: "1", Kind: "k"},
		`queue name "a b"`:     {ID: "1", Kind: "k", Queue: "a b"},
		"negative delay -1ns":  {ID: "1", Kind: "k", Queue: "q", Delay: -1},
		"negative delay -1m0s": {ID: "1", Kind: "k", Queue: "q", Delay: -time.Minute, Priority: 1}, // before what is unsupported
	} {
		if err := backend.CheckMessage(&m, backend.Limits{}); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want ErrInvalid and %q", err, says)
		}
	}
}

func TestCheckMessageRefusesWhatIsBeyondTheLimits(t *testing.T) {
	ranks := backend.Limits{MinPriority: -5, MaxPriority: 9}
	for _, test := range []struct {
		delay    time.Duration
		priority int
		limits   backend.Limits
		says     string
	}{
		{time.Hour + 1, 0, backend.Limits{MaxDelay: time.Hour}, "at most 1h0m0s"},
		{0, 1, backend.Limits{}, "this broker has none"},
		{0, -1, backend.Limits{}, "this broker has none"},
		{0, 10, ranks, "priority 10 is not between -5 and 9"},
		{0, -6, ranks, "priority -6 is not between -5 and 9"},
		{0, -1, backend.Limits{MaxPriority: 9}, "priority -1 is not between 0 and 9"},
	} {
		m := backend.Message{ID: "1", Kind: "k", Queue: "q", Delay: test.delay, Priority: test.priority}
		if err := backend.CheckMessage(&m, test.limits); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("delay %v, priority %d: got %v, want ErrUnsupported and %q", test.delay, test.priority, err, test.says)
		}
	}
}
