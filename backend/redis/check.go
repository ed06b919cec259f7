package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/backend"
)

// leastVersion is the first with all the commands that are used: BLMOVE and
// ZMSCORE came with it.
const leastMajor, leastMinor = 6, 2

// greet looks whether the server can be reached and will do.
func (b *Backend) greet(ctx context.Context) error {
	info, err := b.info(ctx)
	if err != nil {
		return err
	}
	if info == nil {
		return nil // a user who may not ask; Check says so
	}
	_, cluster := b.client.(*goredis.ClusterClient)
	return b.settings.refuse(info, cluster)
}

// refuse returns why a server that tells info of itself will not do. The client
// may know that it is part of a cluster.
func (s settings) refuse(info map[string]string, cluster bool) error {
	if major, minor, known := versionOf(info["redis_version"]); known && (major < leastMajor || major == leastMajor && minor < leastMinor) {
		return fmt.Errorf("%w: Redis %s; version %d.%d or later is needed", backend.ErrUnsupported, info["redis_version"], leastMajor, leastMinor)
	}
	if (cluster || info["cluster_enabled"] == "1") && !hasHashTag(s.namespace) {
		return fmt.Errorf("%w: on a cluster the namespace must have a hash tag, so that all keys are on one node: write namespace={%s}", backend.ErrInvalid, s.namespace)
	}
	if policy := info["maxmemory_policy"]; evicts(policy) && info["maxmemory"] != "0" && !s.allowEviction {
		return fmt.Errorf("%w: this Redis evicts keys when its memory is full (maxmemory-policy %s), and jobs are keys; set maxmemory-policy noeviction, or open it with allow_eviction=true if jobs may get lost", backend.ErrUnsupported, policy)
	}
	return nil
}

// hasHashTag reports whether a cluster looks at a part of the name only.
func hasHashTag(name string) bool {
	_, rest, open := strings.Cut(name, "{")
	tag, _, closed := strings.Cut(rest, "}")
	return open && closed && tag != ""
}

// evicts reports whether a policy takes keys away. Those that take only keys
// that expire take locks, and what keeps a job from being stored twice.
func evicts(policy string) bool { return policy != "" && policy != "noeviction" }

func versionOf(text string) (major, minor int, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}

// info returns what the server tells of itself, or nil when this user may not
// ask.
func (b *Backend) info(ctx context.Context) (map[string]string, error) {
	text, err := look(ctx, b, func(ctx context.Context, node *goredis.Client) (string, error) {
		text, err := node.Do(ctx, "INFO").Text()
		if goredis.HasErrorPrefix(err, "NOPERM") {
			return "", node.Ping(ctx).Err()
		}
		return text, err
	})
	if err != nil || text == "" {
		return nil, err
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// Check looks for settings of the server that put jobs at risk.
func (b *Backend) Check(ctx context.Context) ([]string, error) {
	info, err := b.info(ctx)
	if err != nil {
		return nil, err
	}
	if info == nil {
		return []string{"this user may not ask Redis for INFO: whether a crash of the server loses jobs cannot be told; allow INFO, or see to it that appendonly is yes"}, nil
	}
	var warnings []string
	if info["aof_enabled"] != "1" {
		switch replicas := info["connected_slaves"]; {
		case replicas == "0" || replicas == "":
			warnings = append(warnings, "Redis has neither an append-only file nor a replica: a crash of the server loses the jobs of the last minutes, or all; set appendonly yes")
		default:
			warnings = append(warnings, "Redis has no append-only file: when the server and its replicas go down together, jobs of the last minutes are lost; set appendonly yes")
		}
	}
	if policy := info["maxmemory_policy"]; evicts(policy) {
		warnings = append(warnings, "maxmemory-policy is "+policy+": once maxmemory is reached, Redis takes keys away, jobs among them; set maxmemory-policy noeviction")
	}
	return warnings, nil
}
