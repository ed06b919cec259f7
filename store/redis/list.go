package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/goferhq/queue/store"
)

const (
	// scanAtOnce is how many keys of the database Redis looks at for one
	// reply. A thousand hold up its other clients for a fraction of a
	// millisecond.
	scanAtOnce = 1000

	// readAtOnce is how many values one pipeline asks for.
	readAtOnce = 500
)

// List implements [store.Store]. It looks at every key of the database, in
// many steps: a key that is set or deleted meanwhile may be listed or not. Keys
// that hold no string are not the store's, and are left out.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Item, error) {
	items, err := await(ctx, s, func(ctx context.Context) ([]store.Item, error) {
		keys, err := s.scan(ctx, escape(s.prefix+prefix)+"*")
		if err != nil {
			return nil, err
		}
		items := make([]store.Item, 0, len(keys))
		for some := range slices.Chunk(keys, readAtOnce) {
			if items, err = s.read(ctx, items, some); err != nil {
				return nil, err
			}
		}
		return items, nil
	})
	return items, describe(err, "list", prefix)
}

// scan returns the keys that match a pattern, each once, sorted.
func (s *Store) scan(ctx context.Context, pattern string) ([]string, error) {
	var keys []string
	var err error
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		var mu sync.Mutex // guards keys
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			found, err := scanNode(ctx, master, pattern)
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, found...)
			return err
		})
	} else {
		keys, err = scanNode(ctx, s.client, pattern)
	}
	// SCAN returns a key again when the table of keys has grown or shrunk.
	slices.Sort(keys)
	return slices.Compact(keys), err
}

func scanNode(ctx context.Context, node redis.Cmdable, pattern string) (keys []string, err error) {
	var cursor uint64
	for {
		var page []string
		page, cursor, err = node.Scan(ctx, cursor, pattern, scanAtOnce).Result()
		if err != nil {
			return nil, err
		}
		keys = append(keys, page...)
		if cursor == 0 {
			return keys, nil
		}
	}
}

// read appends the items of keys that still exist and hold a string. It asks
// for them one by one, in a pipeline: MGET is refused by a cluster for keys
// that are not of one hash slot.
func (s *Store) read(ctx context.Context, items []store.Item, keys []string) ([]store.Item, error) {
	replies := make([]*redis.StringCmd, len(keys))
	pipeline := s.client.Pipeline()
	for i, key := range keys {
		replies[i] = pipeline.Get(ctx, key)
	}
	if _, err := pipeline.Exec(ctx); err != nil && !isReply(err) {
		return nil, err
	}
	for i, reply := range replies {
		value, err := valueOf(reply)
		switch {
		case errors.Is(err, store.ErrNotFound), redis.HasErrorPrefix(err, "WRONGTYPE"):
		case err != nil:
			return nil, err
		default:
			items = append(items, store.Item{Key: strings.TrimPrefix(keys[i], s.prefix), Value: value})
		}
	}
	return items, nil
}

// special are the characters that mean something in a pattern of Redis.
var special = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// escape returns a pattern that matches a text and nothing else.
func escape(text string) string { return special.Replace(text) }
