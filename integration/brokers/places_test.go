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
	t.Setenv(beanstalkdSource.variable, "")
	t.Setenv(rabbitMQSource.variable, "")
	t.Setenv(require, "")
	t.Setenv("PATH", t.TempDir())
}

func noEngine() error { return errors.New("no engine") }

func engine() error { return nil }

func TestBrokersAreLookedForInOrder(t *testing.T) {
	for _, kind := range []struct {
		source                 source
		image, executable, url string
	}{
		{redisSource, "redis:7-alpine", "redis-server", "redis://localhost:6379/0"},
		{beanstalkdSource, "ghcr.io/beanstalkd/beanstalkd:latest", "beanstalkd", "beanstalkd://localhost:11300"},
		{rabbitMQSource, "rabbitmq:4-alpine", "rabbitmq-server", "amqp://guest:guest@localhost:5672/"},
	} {
		t.Run(kind.source.broker, func(t *testing.T) {
			nothing(t)
			expect := func(want place) {
				t.Helper()
				if got, err := kind.source.find(engine); err != nil || got != want {
					t.Errorf("found %+v, %v; want %+v", got, err, want)
				}
			}
			expect(place{image: kind.image})
			executable := filepath.Join(os.Getenv("PATH"), kind.executable)
			if err := os.WriteFile(executable, nil, 0o700); err != nil {
				t.Fatal(err)
			}
			expect(place{executable: executable})
			t.Setenv(kind.source.variable, kind.url)
			expect(place{url: kind.url})
		})
	}
}

func TestContainersAreNotForClusters(t *testing.T) {
	nothing(t)
	asked := func() error {
		t.Error("the Docker engine was asked")
		return nil
	}
	for _, s := range []source{clusterSource, sentinelSource, rabbitMQClusterSource} {
		if found, err := s.find(asked); err == nil {
			t.Errorf("found a %s: %+v", s.broker, found)
		}
	}
}

func TestMissingBrokerSkipsUnlessItIsRequired(t *testing.T) {
	for _, s := range []source{redisSource, beanstalkdSource, rabbitMQSource} {
		for value, required := range map[string]bool{"": false, "0": false, "1": true, "true": true} {
			t.Run(s.broker+",require="+value, func(t *testing.T) {
				nothing(t)
				t.Setenv(require, value)
				r := &recorder{TB: t}
				r.during(func() { locate(r, s, noEngine) })
				if r.failed != required || r.skipped == required {
					t.Errorf("failed: %v, skipped: %v", r.failed, r.skipped)
				}
				for _, way := range []string{s.variable, s.executable + " on PATH", "start Docker", "integration/setup"} {
					if !strings.Contains(r.said.String(), way) {
						t.Errorf("the test is not told of %q but: %s", way, &r.said)
					}
				}
			})
		}
	}
}

func TestRedisOfTheEnvironmentIsUsedButNotHarmed(t *testing.T) {
	own := Redis(t)
	expectSpared(t, own, redisSource, func(t testing.TB) *RedisServer { return Redis(t) },
		func(r *recorder, _ *RedisServer) map[string]func() {
			return map[string]func(){
				"options": func() { Redis(r, "--maxmemory", "10mb") },
			}
		})
	if err := own.Client().Ping(t.Context()).Err(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestBeanstalkdOfTheEnvironmentIsUsedButNotHarmed(t *testing.T) {
	own := beanstalkdOnPath(t, beanstalkdPath(t), nil)
	given := expectSpared(t, own, beanstalkdSource, func(t testing.TB) *BeanstalkdServer { return Beanstalkd(t) },
		func(r *recorder, given *BeanstalkdServer) map[string]func() {
			return map[string]func(){
				"Drain":         given.Drain,
				"options":       func() { Beanstalkd(r, "-z", "1000000") },
				"WithoutBinlog": func() { Beanstalkd(r, WithoutBinlog) },
			}
		})
	id := putJob(t, given.Client(), "body")
	expectJob(t, own.Client(), id, "body")
}

func TestRabbitMQOfTheEnvironmentIsUsedButNotHarmed(t *testing.T) {
	own := rabbitMQOnPath(t, rabbitMQPath(t), nil)
	given := expectSpared(t, own, rabbitMQSource, func(t testing.TB) *RabbitMQServer { return RabbitMQ(t) },
		func(r *recorder, given *RabbitMQServer) map[string]func() {
			return map[string]func(){
				"Control":       func() { given.Control("status") },
				"configuration": func() { RabbitMQ(r, "consumer_timeout = 10000") },
			}
		})
	declareQueue(t, openChannel(t, given), "queue", nil)
	expectMessages(t, openChannel(t, own), "queue", 0)
}

// harmable is what all servers have.
type harmable interface {
	URL() string
	Addr() string
	Kill()
	Shutdown()
	Restart()
	Stop()
	Continue()
}

// expectSpared names own in the environment, has start give it to a test, and
// expects that this test is skipped when it does harm to it, also by the harms of
// its kind. It returns what was given; the recorder that this belongs to is
// finished when t is.
func expectSpared[S harmable](t *testing.T, own S, source source, start func(testing.TB) S, more func(r *recorder, given S) map[string]func()) S {
	t.Helper()
	t.Setenv(source.variable, own.URL())
	r := &recorder{TB: t}
	t.Cleanup(r.finish)
	var given S
	started := false
	r.during(func() { given, started = start(r), true })
	if !started {
		t.Fatalf("no %s: %s", source.broker, &r.said)
	}
	if given.URL() != own.URL() || given.Addr() != own.Addr() {
		t.Errorf("it is at %s, %s; want %s", given.URL(), given.Addr(), own.URL())
	}
	harms := more(r, given)
	for name, harm := range map[string]func(){
		"Kill": given.Kill, "Shutdown": given.Shutdown, "Restart": given.Restart, "Stop": given.Stop, "Continue": given.Continue,
	} {
		harms[name] = harm
	}
	for name, harm := range harms {
		r.skipped = false
		r.during(harm)
		if !r.skipped || r.failed {
			t.Errorf("%s: skipped: %v, failed: %v: %s", name, r.skipped, r.failed, &r.said)
		}
	}
	return given
}

func TestWrongAddressInTheEnvironmentFailsWithoutItsPassword(t *testing.T) {
	port := reservePort(t)
	startRedis := func(t testing.TB) { Redis(t) }
	startBeanstalkd := func(t testing.TB) { Beanstalkd(t) }
	startRabbitMQ := func(t testing.TB) { RabbitMQ(t) }
	for _, kind := range []struct {
		variable string
		start    func(testing.TB)
		address  string
	}{
		{redisSource.variable, startRedis, fmt.Sprintf("redis://:secret@%s:%d/0", loopback, port)},
		{redisSource.variable, startRedis, "redis://:secret@localhost:port/0"},
		{redisSource.variable, startRedis, "nonsense:secret"},
		{beanstalkdSource.variable, startBeanstalkd, fmt.Sprintf("beanstalkd://:secret@%s:%d", loopback, port)},
		{beanstalkdSource.variable, startBeanstalkd, "beanstalkd://:secret@localhost:port"},
		{beanstalkdSource.variable, startBeanstalkd, "beanstalkd:secret"},
		{beanstalkdSource.variable, startBeanstalkd, "redis://:secret@localhost:11300"},
		{rabbitMQSource.variable, startRabbitMQ, fmt.Sprintf("amqp://guest:secret@%s:%d/", loopback, port)},
		{rabbitMQSource.variable, startRabbitMQ, "amqp://guest:secret@localhost:port/"},
		{rabbitMQSource.variable, startRabbitMQ, "redis://:secret@localhost:5672"},
	} {
		t.Setenv(kind.variable, kind.address)
		r := &recorder{TB: t}
		r.during(func() { kind.start(r) })
		r.finish()
		if !r.failed || !strings.Contains(r.said.String(), kind.variable) {
			t.Errorf("%s: failed: %v: %s", kind.address, r.failed, &r.said)
		}
		if strings.Contains(r.said.String(), "secret") {
			t.Errorf("%s: the password is told: %s", kind.address, &r.said)
		}
	}
}
