package brokers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recorder is a test of which nothing but the record is kept. What it calls for
// in the end is run by finish.
type recorder struct {
	testing.TB
	failed   bool
	skipped  bool
	said     strings.Builder
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Failed() bool { return r.failed }

func (r *recorder) Logf(format string, args ...any) { fmt.Fprintf(&r.said, format+"\n", args...) }

func (r *recorder) Cleanup(cleanup func()) { r.cleanups = append(r.cleanups, cleanup) }

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = true
	r.Logf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
	runtime.Goexit()
}

// during runs a piece of the test, which may end it.
func (r *recorder) during(piece func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		piece()
	}()
	<-done
}

// finish is the end of the test.
func (r *recorder) finish() {
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
	r.cleanups = nil
}

// nothing makes it look as if there were no broker on this machine.
func nothing(t *testing.T) {
	t.Setenv(redisSource.variable, "")
	t.Setenv(require, "")
	t.Setenv("PATH", t.TempDir())
}

func noEngine() error { return errors.New("no engine") }

func engine() error { return nil }

func TestBrokersAreLookedForInOrder(t *testing.T) {
	nothing(t)
	expect := func(want place) {
		t.Helper()
		if got, err := redisSource.find(engine); err != nil || got != want {
			t.Errorf("found %+v, %v; want %+v", got, err, want)
		}
	}
	expect(place{image: "redis:7-alpine"})
	executable := filepath.Join(os.Getenv("PATH"), "redis-server")
	if err := os.WriteFile(executable, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	expect(place{executable: executable})
	t.Setenv(redisSource.variable, "redis://localhost:6379/0")
	expect(place{url: "redis://localhost:6379/0"})
}

func TestContainersAreNotForClusters(t *testing.T) {
	nothing(t)
	asked := func() error {
		t.Error("the Docker engine was asked")
		return nil
	}
	for _, s := range []source{clusterSource, sentinelSource} {
		if found, err := s.find(asked); err == nil {
			t.Errorf("found a %s: %+v", s.broker, found)
		}
	}
}

func TestMissingBrokerSkipsUnlessItIsRequired(t *testing.T) {
	for value, required := range map[string]bool{"": false, "0": false, "1": true, "true": true} {
		t.Run("require="+value, func(t *testing.T) {
			nothing(t)
			t.Setenv(require, value)
			r := &recorder{TB: t}
			r.during(func() { locate(r, redisSource, noEngine) })
			if r.failed != required || r.skipped == required {
				t.Errorf("failed: %v, skipped: %v", r.failed, r.skipped)
			}
			for _, way := range []string{redisSource.variable, "redis-server on PATH", "start Docker", "integration/setup"} {
				if !strings.Contains(r.said.String(), way) {
					t.Errorf("the test is not told of %q but: %s", way, &r.said)
				}
			}
		})
	}
}

func TestRedisOfTheEnvironmentIsUsedButNotHarmed(t *testing.T) {
	own := Redis(t)
	t.Setenv(redisSource.variable, own.URL())
	r := &recorder{TB: t}
	defer r.finish()
	var given *RedisServer
	r.during(func() { given = Redis(r) })
	if given == nil {
		t.Fatalf("no Redis: %s", &r.said)
	}
	if given.URL() != own.URL() || given.Addr() != own.Addr() {
		t.Errorf("it is at %s, %s; want %s", given.URL(), given.Addr(), own.URL())
	}
	for name, harm := range map[string]func(){
		"Kill":     given.Kill,
		"Shutdown": given.Shutdown,
		"Restart":  given.Restart,
		"Stop":     given.Stop,
		"Continue": given.Continue,
		"options":  func() { Redis(r, "--maxmemory", "10mb") },
	} {
		r.skipped = false
		r.during(harm)
		if !r.skipped || r.failed {
			t.Errorf("%s: skipped: %v, failed: %v: %s", name, r.skipped, r.failed, &r.said)
		}
	}
	if err := own.Client().Ping(t.Context()).Err(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestWrongAddressInTheEnvironmentFailsWithoutItsPassword(t *testing.T) {
	port := reservePort(t)
	for _, address := range []string{
		fmt.Sprintf("redis://:secret@%s:%d/0", loopback, port),
		"redis://:secret@localhost:port/0",
		"nonsense:secret",
	} {
		t.Setenv(redisSource.variable, address)
		r := &recorder{TB: t}
		r.during(func() { Redis(r) })
		r.finish()
		if !r.failed || !strings.Contains(r.said.String(), redisSource.variable) {
			t.Errorf("%s: failed: %v: %s", address, r.failed, &r.said)
		}
		if strings.Contains(r.said.String(), "secret") {
			t.Errorf("%s: the password is told: %s", address, &r.said)
		}
	}
}
