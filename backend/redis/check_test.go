package redis

import (
	"errors"
	"strings"
	"testing"

	"github.com/goferhq/queue/backend"
)

func TestAServerThatWillNotDoIsRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings settings
		info     map[string]string
		cluster  bool
		sentinel error
		says     string
	}{
		{name: "an old one", info: map[string]string{"redis_version": "6.0.16"}, sentinel: backend.ErrUnsupported, says: "Redis 6.0.16; version 6.2 or later"},
		{name: "an ancient one", info: map[string]string{"redis_version": "2.8.24"}, sentinel: backend.ErrUnsupported, says: "2.8.24"},
		{name: "the first that will do", info: map[string]string{"redis_version": "6.2.0"}},
		{name: "a later one", info: map[string]string{"redis_version": "7.0.15"}},
		{name: "one after the next", info: map[string]string{"redis_version": "10.1.2"}},
		{name: "a candidate for a release", info: map[string]string{"redis_version": "8.0-rc1"}},
		{name: "one with a version of its own kind", info: map[string]string{"redis_version": "cloud"}},
		{name: "one that does not tell", info: map[string]string{}},
		{name: "one that evicts", info: map[string]string{"maxmemory": "1000", "maxmemory_policy": "allkeys-lru"}, sentinel: backend.ErrUnsupported, says: "allow_eviction=true"},
		{name: "one that evicts what expires", info: map[string]string{"maxmemory": "1000", "maxmemory_policy": "volatile-ttl"}, sentinel: backend.ErrUnsupported, says: "volatile-ttl"},
		{name: "one that may", settings: settings{allowEviction: true}, info: map[string]string{"maxmemory": "1000", "maxmemory_policy": "allkeys-lru"}},
		{name: "one without a limit", info: map[string]string{"maxmemory": "0", "maxmemory_policy": "allkeys-lru"}},
		{name: "one that refuses writes instead", info: map[string]string{"maxmemory": "1000", "maxmemory_policy": "noeviction"}},
		{name: "a cluster", settings: settings{namespace: "resque"}, cluster: true, sentinel: backend.ErrInvalid, says: "namespace={resque}"},
		{name: "a node of a cluster", settings: settings{namespace: "app"}, info: map[string]string{"cluster_enabled": "1"}, sentinel: backend.ErrInvalid, says: "namespace={app}"},
		{name: "a cluster and a hash tag", settings: settings{namespace: "{resque}"}, info: map[string]string{"cluster_enabled": "1"}, cluster: true},
	} {
		err := c.settings.refuse(c.info, c.cluster)
		if !errors.Is(err, c.sentinel) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %v and %q", c.name, err, c.sentinel, c.says)
		}
	}
}

func TestAHashTagIsWhatAClusterTakesForOne(t *testing.T) {
	for name, want := range map[string]bool{
		"{a}": true, "app:{a}:b": true, "{a}{b}": true, "a{b}": true,
		"": false, "a": false, "{}": false, "{}{a}": false, "{a": false, "a}": false, "}a{": false,
	} {
		if hasHashTag(name) != want {
			t.Errorf("hasHashTag(%q) is %t", name, !want)
		}
	}
}

func TestANamespaceHasNoBlanks(t *testing.T) {
	for name, valid := range map[string]bool{
		"resque": true, "app:resque": true, "{é}": true,
		" ": false, "a b": false, "a\n": false, "\x00": false, "a\x7f": false,
	} {
		if err := checkNamespace(name); (err == nil) != valid || err != nil && !errors.Is(err, backend.ErrInvalid) {
			t.Errorf("checkNamespace(%q) returned %v", name, err)
		}
	}
}
