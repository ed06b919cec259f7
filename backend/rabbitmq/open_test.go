package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue/backend"
)

// late is by how much the end of a call may be late: half a second by the contract
// of the drivers, and as much again for a machine that has other things to do.
const late = time.Second

func TestTheServerIsToldWhatTheURLSays(t *testing.T) {
	program := filepath.Base(os.Args[0])
	for address, want := range map[string]greeting{
		"amqp://HOST":                                        {program, "PLAIN", "guest", "guest", "/", 10},
		"amqp://HOST/":                                       {program, "PLAIN", "guest", "guest", "/", 10},
		"amqp://HOST/%2F":                                    {program, "PLAIN", "guest", "guest", "/", 10},
		"amqp://HOST/mail":                                   {program, "PLAIN", "guest", "guest", "mail", 10},
		"amqp://HOST/%2Fmail":                                {program, "PLAIN", "guest", "guest", "/mail", 10},
		"amqp://HOST/my%2Fmail%20host":                       {program, "PLAIN", "guest", "guest", "my/mail host", 10},
		"amqp://ann:p%40%2F%3Ass@HOST":                       {program, "PLAIN", "ann", "p@/:ss", "/", 10},
		"amqp://ann@HOST":                                    {program, "PLAIN", "ann", "", "/", 10},
		"AMQP://HOST?heartbeat=1s":                           {program, "PLAIN", "guest", "guest", "/", 1},
		"amqp://HOST?heartbeat=2m":                           {program, "PLAIN", "guest", "guest", "/", 60}, // what the server has proposed
		"amqp://HOST/a?connection_name=my%20%26+name":        {"my & name", "PLAIN", "guest", "guest", "a", 10},
		"amqp://b%C3%A9:%E2%80%A6@HOST/%C3%BC?type=%71uorum": {program, "PLAIN", "bé", "…", "ü", 10},
	} {
		s := serve(t, manners{})
		b := opened(t, strings.Replace(address, "HOST", s.address, 1))
		purposes := []string{"consuming", "publishing"}
		got := s.heard()
		if len(got) != len(purposes) {
			t.Fatalf("%s: there are %d connections, want %d", address, len(got), len(purposes))
		}
		for i, purpose := range purposes {
			want := want
			want.name += " " + purpose
			if got[i] != want {
				t.Errorf("%s: the server was told %+v, want %+v", address, got[i], want)
			}
		}
		b.Close()
	}
}

func TestThePrioritiesAreThoseOfTheURL(t *testing.T) {
	s := serve(t, manners{})
	for parameters, want := range map[string]int{
		"": 0, "?type=quorum": 0, "?type=classic": 0, "?type=classic&max-priority=1": 1, "?type=classic&max-priority=255": 255,
	} {
		b := opened(t, "amqp://"+s.address+parameters)
		if limits := backend.LimitsOf(b); limits.MinPriority != 0 || limits.MaxPriority != want {
			t.Errorf("%q: priorities from %d to %d, want 0 to %d", parameters, limits.MinPriority, limits.MaxPriority, want)
		}
		b.Close()
	}
}

func TestQueuesAreOfTheTypeOfTheURL(t *testing.T) {
	for parameters, want := range map[string]map[string]any{
		"":                             {"x-queue-type": "quorum", "x-delivery-limit": int64(1) << 30},
		"?type=classic":                {"x-queue-type": "classic"},
		"?type=classic&max-priority=9": {"x-queue-type": "classic", "x-max-priority": int64(9)},
	} {
		s := serve(t, manners{})
		b := opened(t, "amqp://"+s.address+parameters)
		if err := b.Push(t.Context(), []*backend.Message{{ID: "1", Kind: "k", Args: []byte("1"), Queue: "mail"}}); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		got := s.topology.queues["mail"]
		s.mu.Unlock()
		if len(got) != len(want) {
			t.Errorf("%q: the arguments are %v, want %v", parameters, got, want)
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%q: the arguments are %v, want %v", parameters, got, want)
			}
		}
		b.Close()
	}
}

func TestAURLThatIsWrongSaysHow(t *testing.T) {
	for address, says := range map[string]string{
		"amqp://h?lease=30s":                         "unknown parameter \"lease\"",
		"amqp://h?type=stream":                       "type",
		"amqp://h?type=":                             "type",
		"amqp://h?type=Quorum":                       "type",
		"amqp://h?max-priority=many":                 "max-priority",
		"amqp://h?type=classic&max-priority=-1":      "max-priority",
		"amqp://h?type=classic&max-priority=256":     "max-priority",
		"amqp://h?max-priority=10":                   "type=classic&max-priority=10",
		"amqp://h?type=quorum&max-priority=1":        "type=classic&max-priority=1",
		"amqp://h?timeout=5":                         "timeout",
		"amqp://h?timeout=0s":                        "timeout",
		"amqp://h?timeout=-1s":                       "timeout",
		"amqp://h?heartbeat=often":                   "heartbeat",
		"amqp://h?heartbeat=0s":                      "whole seconds",
		"amqp://h?heartbeat=-1s":                     "whole seconds",
		"amqp://h?heartbeat=999ms":                   "whole seconds",
		"amqp://h?heartbeat=1500ms":                  "whole seconds",
		"amqp://h?heartbeat=10s&heartbeat=20s":       "twice",
		"amqp://h?connection_name=a&connection_name": "twice",
		"amqp://h/a/b":                               "%2F",
		"amqp://h//":                                 "%2F",
		"amqp://h/%2F/":                              "%2F",
		"amqp://h#fragment":                          "fragment",
		"amqp://h:0":                                 "65535",
		"amqp://h:65536":                             "65535",
		"amqp://h,":                                  "empty",
		"amqp://h:1,,i:2":                            "empty",
		"amqp://h,h:5672":                            "stands twice",
		"amqps://h,h:5671":                           "stands twice",
		"amqp://h?tls_ca=ca.pem":                     "write amqps://",
		"amqp://h?tls_cert=c.pem&tls_key=k.pem":      "write amqps://",
		"amqp://h?tls_server_name=h":                 "write amqps://",
		"amqps://h?tls_ca=/nowhere/ca.pem":           "tls_ca",
		"amqps://h?tls_cert=/nowhere/c.pem":          "tls_key",
		"amqps://h?tls_key=/nowhere/k.pem":           "tls_cert",
		"amqps://h?tls=true":                         "unknown parameter \"tls\"",
		// What another client of AMQP has in its URLs is not what they say here.
		"amqp://h?channel_max=10":         "unknown parameter",
		"amqp://h?connection_timeout=100": "unknown parameter",
		"amqp://h?auth_mechanism=plain":   "unknown parameter",
		"amqp://h?cacertfile=ca.pem":      "unknown parameter",
		// These hide the password where others would look for something else.
		"amqp://h?type=geheim":         "type",
		"amqp://h?max-priority=geheim": "max-priority",
		"amqp://h?timeout=geheim":      "timeout",
		"amqp://h?heartbeat=geheim":    "heartbeat",
		"amqp://h?password=geheim":     "password",
		"amqp://h?geheim":              "without a value",
		"amqp://h?%zz=geheim":          "do not parse",
		"amqp://h#geheim":              "fragment",
		"amqp://h:port":                "does not parse",
		"amqp://h/%zz":                 "does not parse",
		"amqp://h h":                   "does not parse",
	} {
		address = strings.Replace(address, "://", "://ann:geheim@", 1)
		if err := refused(t.Context(), t, address); !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want ErrInvalid and %q", address, err, says)
		}
	}
}

func TestAnUnknownParameterIsAnErrorThatListsTheKnownOnes(t *testing.T) {
	for _, scheme := range []string{"amqp", "amqps"} {
		err := refused(t.Context(), t, scheme+"://h?prefetch=10")
		const known = "known: connection_name, heartbeat, max-priority, timeout, tls_ca, tls_cert, tls_key, tls_server_name, type"
		if !errors.Is(err, backend.ErrInvalid) || !strings.Contains(err.Error(), known) {
			t.Errorf("%s: got %v, want ErrInvalid and %q", scheme, err, known)
		}
	}
}

// The name of a virtual host is one of the short texts of AMQP.
func TestAVirtualHostThatIsTooLongIsRefusedAsSuch(t *testing.T) {
	s := serve(t, manners{})
	opened(t, "amqp://"+s.address+"/"+strings.Repeat("a", 255))
	err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address+"/"+strings.Repeat("a", 256))
	if !errors.Is(err, backend.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

// AMQP has two bytes for the seconds of a heartbeat. More would be cut there, and
// the triple of very many does not fit in a time.Duration.
func TestAHeartbeatThatAMQPCannotSayIsRefused(t *testing.T) {
	s := serve(t, manners{})
	opened(t, "amqp://"+s.address+"?heartbeat=65535s")
	for _, heartbeat := range []string{"65536s", "1000000h"} {
		b, err := backend.Open(t.Context(), "amqp://"+s.address+"?heartbeat="+heartbeat)
		if err == nil {
			b.Close()
		}
		if !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", heartbeat, err)
		}
	}
}

// dead returns an address at which nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestOpenFailsWhenNoServerIsThere(t *testing.T) {
	hosts := []string{dead(t), dead(t), dead(t)}
	start := time.Now()
	err := refused(t.Context(), t, "amqp://ann:geheim@"+strings.Join(hosts, ",")+"/mail?timeout=1h")
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	for _, host := range hosts {
		if !strings.Contains(err.Error(), "RabbitMQ at "+host) {
			t.Errorf("the error does not tell of %s: %v", host, err)
		}
	}
	if passed := time.Since(start); passed > late {
		t.Errorf("it took %v", passed)
	}
}

func TestOfSeveralHostsOneIsEnough(t *testing.T) {
	s := serve(t, manners{})
	old := serve(t, manners{version: "3.8.9"})
	for _, hosts := range []string{
		s.address + "," + dead(t), dead(t) + "," + s.address, dead(t) + "," + s.address + "," + dead(t), old.address + "," + s.address,
	} {
		before := len(s.heard())
		b := opened(t, "amqp://"+hosts)
		if got := len(s.heard()) - before; got != 2 {
			t.Errorf("%s: there are %d connections to the one that is there, want 2", hosts, got)
		}
		b.Close()
	}
	if got := len(old.heard()); got != 1 {
		t.Errorf("the one that could not be used was asked %d times, want once", got)
	}
}

// stages are where a server can fall silent, and what nobody could know then.
var stages = map[string]struct {
	method uint32
	never  []string
}{
	"before it has said a word":   {connectionStart, []string{"password", "virtual host", "vhost"}},
	"when it was told who we are": {connectionTune, []string{"password", "virtual host", "vhost"}},
	"when it is to let us in":     {connectionOpenOK, []string{"password", "virtual host", "vhost"}},
}

func TestAServerThatSaysNothingIsGivenUpInTime(t *testing.T) {
	for when, stage := range stages {
		for from := range 2 { // the first connection, or the second
			t.Run(when, func(t *testing.T) {
				t.Parallel()
				s := serve(t, manners{mute: stage.method, from: from})
				start := time.Now()
				err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address+"?timeout=100ms")
				if passed := time.Since(start); passed < 100*time.Millisecond || passed > 100*time.Millisecond+late {
					t.Errorf("it was given up after %v, want 100 ms", passed)
				}
				if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "RabbitMQ at "+s.address) {
					t.Errorf("got %v, want ErrUnavailable and the host", err)
				}
			})
		}
	}
}

// Whoever reads that the password was refused, or that there is no such virtual
// host, looks in the wrong place when it is the network.
func TestAServerThatSaysNothingIsNotSaidToRefuseAnything(t *testing.T) {
	for when, stage := range stages {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := serve(t, manners{mute: stage.method})
			err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address+"?timeout=100ms")
			for _, word := range stage.never {
				if strings.Contains(err.Error(), word) {
					t.Errorf("the error speaks of a %s: %v", word, err)
				}
			}
			if !strings.Contains(err.Error(), "100ms") || !strings.Contains(err.Error(), "timeout") {
				t.Errorf("the error does not say that it was the timeout of 100 ms: %v", err)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	for when, stage := range stages {
		for from := range 2 {
			t.Run(when, func(t *testing.T) {
				t.Parallel()
				s := serve(t, manners{mute: stage.method, from: from})
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				start := time.Now()
				err := refused(ctx, t, "amqp://ann:geheim@"+s.address+"?timeout=1h")
				if passed := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || passed > 50*time.Millisecond+late {
					t.Errorf("got %v after %v, want the error of the context at once", err, passed)
				}
			})
		}
	}
}

func TestOpenEndsWhenItsContextIsCanceled(t *testing.T) {
	s := serve(t, manners{mute: connectionStart})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	hosts := s.address + "," + dead(t)
	if err := refused(ctx, t, "amqp://ann:geheim@"+hosts+"?timeout=1h"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the error of the context", err)
	}
	if err := refused(ctx, t, "amqp://ann:geheim@"+hosts); !errors.Is(err, context.Canceled) {
		t.Errorf("with one that was over before: got %v, want the error of the context", err)
	}
}

func TestAServerThatHangsUpIsUnavailable(t *testing.T) {
	for when, stage := range stages {
		s := serve(t, manners{curt: stage.method})
		if err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", when, err)
		}
	}
}

func TestARefusalIsExplained(t *testing.T) {
	for what, c := range map[string]struct {
		manners manners
		says    []string
	}{
		// RabbitMQ hangs up when the user or the password is wrong.
		"the password is wrong": {
			manners{curt: connectionTune},
			[]string{`user "ann"`, "password"},
		},
		"the user may not come from here": {
			manners{refused: connectionTune, code: 403, reason: "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."},
			[]string{"Login was refused"},
		},
		"there is no such virtual host": {
			manners{refused: connectionOpenOK, code: 530, reason: "NOT_ALLOWED - vhost mail not found"},
			[]string{`"mail"`, `"ann"`, "vhost mail not found"},
		},
		"the virtual host is full": {
			manners{refused: connectionOpenOK, code: 530, reason: "NOT_ALLOWED - access to vhost 'mail' refused: connection limit (1) is reached"},
			[]string{`"mail"`, "connection limit (1) is reached"},
		},
		"the virtual host is down": {
			manners{refused: connectionOpenOK, code: 541, reason: "INTERNAL_ERROR - access to vhost 'mail' refused: vhost 'mail' is down"},
			[]string{"is down"},
		},
		"it is about to stop": {
			manners{refused: connectionTune, code: 320, reason: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"},
			[]string{"shutdown"},
		},
	} {
		for c.manners.from = range 2 {
			s := serve(t, c.manners)
			err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address+"/mail")
			if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrUnsupported) {
				t.Errorf("%s: got %v, want ErrUnavailable", what, err)
			}
			for _, says := range append(c.says, "RabbitMQ at "+s.address) {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%s: got %v, want that it says %q", what, err, says)
				}
			}
		}
	}
}

func TestAVersionThatIsTooOldIsUnsupported(t *testing.T) {
	for _, version := range []string{"3.8.2", "3.9.29", "3.9.0-rc.1", "3.0.0", "2.8.7"} {
		s := serve(t, manners{version: version})
		err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address)
		if !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "3.10") {
			t.Errorf("%s: got %v, want ErrUnsupported, the version and which are not too old", version, err)
		}
	}
	for _, version := range []string{"3.10.0", "3.10", "3.13.7", "3.100.0", "4.0.1", "4.2.0-rc.2", "10.0.0", "", "unknown", "4", "v3.8"} {
		s := serve(t, manners{version: version})
		opened(t, "amqp://"+s.address).Close()
	}
}

// The headers of a buried job need the room that RabbitMQ has by default.
func TestAServerWithFramesThatAreTooSmallIsUnsupported(t *testing.T) {
	s := serve(t, manners{frame: 8 << 10})
	if err := refused(t.Context(), t, "amqp://ann:geheim@"+s.address); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "frame_max") {
		t.Errorf("got %v, want ErrUnsupported and the name of the setting", err)
	}
	for _, frame := range []uint32{maxFrame, 1 << 20} {
		opened(t, "amqp://"+serve(t, manners{frame: frame}).address).Close()
	}
}

func TestWhatDoesNotSpeakAMQPIsUnavailable(t *testing.T) {
	for what, says := range map[string]string{
		"a web server":            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
		"another version of AMQP": "AMQP\x00\x01\x00\x00",
		"Redis":                   "-ERR unknown command\r\n",
		"a frame without an end":  "\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0a\x00",
		"a frame that is endless": "\x01\x00\x00\xff\xff\xff\xff",
		"silence and then none":   "",
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Write([]byte(says))
				conn.(*net.TCPConn).CloseWrite()
				defer conn.Close()
			}
		}()
		if err := refused(t.Context(), t, "amqp://ann:geheim@"+listener.Addr().String()); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", what, err)
		}
	}
}

// closes fails the test unless Close ends in time, whatever the server does.
func closes(t *testing.T, s *server, b backend.Backend) {
	t.Helper()
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(late):
		t.Errorf("Close still waits after %v", late)
		s.hangUp()
		<-closed
	}
}

func TestCloseDoesNotWaitForAServerThatSaysNothing(t *testing.T) {
	s := serve(t, manners{mute: connectionCloseOK})
	closes(t, s, opened(t, "amqp://"+s.address))
}

// Heartbeats are no answer: RabbitMQ sends them also while it reads nothing from
// a connection, since it is short of memory.
func TestCloseDoesNotWaitForAServerThatOnlyBeats(t *testing.T) {
	s := serve(t, manners{mute: connectionCloseOK, beats: 20 * time.Millisecond})
	closes(t, s, opened(t, "amqp://"+s.address))
}
