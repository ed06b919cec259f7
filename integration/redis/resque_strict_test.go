package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// expectResqueCanRead goes through all that Resque looks at, and reports what
// would stop a Ruby worker from starting, make it exit over a job, or have
// resque-web show an error in place of a page.
func (s *resqueSite) expectResqueCanRead() {
	s.t.Helper()
	for _, name := range s.keys() {
		if err := s.readAsResque(name); err != nil {
			s.t.Errorf("Resque would fail at %s: %v", name, err)
		}
	}
}

func (s *resqueSite) readAsResque(name string) error {
	ctx := context.Background()
	key := s.prefix + name
	kind, rest, _ := strings.Cut(name, ":")
	switch {
	case kind == "gofer": // which Resque does not look at
		return nil
	case name == "queues":
		return s.client.SMembers(ctx, key).Err()
	case kind == "queue":
		items, err := s.client.LRange(ctx, key, 0, -1).Result()
		for _, item := range items {
			err = errors.Join(err, strictPayload(item))
		}
		return err
	case name == "failed":
		entries, err := s.client.LRange(ctx, key, 0, -1).Result()
		for _, entry := range entries {
			err = errors.Join(err, strictFailed(entry))
		}
		return err
	case name == "workers":
		ids, err := s.client.SMembers(ctx, key).Result()
		for _, id := range ids {
			err = errors.Join(err, strictWorkerID(id))
		}
		return err
	case name == "workers:heartbeat":
		beats, err := s.client.HGetAll(ctx, key).Result()
		for id, at := range beats {
			_, parsing := time.Parse(time.RFC3339, at)
			err = errors.Join(err, strictWorkerID(id), parsing)
		}
		return err
	case kind == "worker", kind == "stat", kind == "job" && strings.HasSuffix(rest, ":status"):
		value := s.text(name)
		if value == "" {
			return nil // gone since it was listed
		}
		return strictText(kind, rest, value)
	case kind == "delayed", kind == "timestamps", name == "delayed_queue_schedule", name == "pause-all-workers", kind == "resque":
		return nil // what the scheduler and people write is not ours
	}
	return errors.New("a key that Resque does not know, and not beneath gofer:")
}

// strictText is what Resque needs of a key of a worker, a counter or a status.
func strictText(kind, rest, value string) (err error) {
	switch {
	case kind == "stat":
		_, err = strconv.ParseInt(value, 10, 64)
	case kind == "job":
		_, err = strictObject(value)
	case strings.HasSuffix(rest, ":started"):
		_, err = time.Parse("2006-01-02 15:04:05 -0700", value)
	default:
		err = errors.Join(strictWorkerID(rest), strictWorking(value))
	}
	return err
}

// strictPayload is what Ruby's worker and resque-web need of an item in a
// queue.
func strictPayload(item string) error {
	object, err := strictObject(item)
	if err != nil {
		return err
	}
	if class, ok := object["class"].(string); !ok || class == "" {
		return fmt.Errorf("no class in %.200q", item)
	}
	if _, ok := object["args"].([]any); !ok {
		return fmt.Errorf("args are not a list in %.200q", item)
	}
	return nil
}

// strictFailed is what the page of the failed jobs needs of an entry.
func strictFailed(entry string) error {
	object, err := strictObject(entry)
	if err != nil {
		return err
	}
	at, _ := object["failed_at"].(string)
	worker, _ := object["worker"].(string)
	payload, _ := object["payload"].(map[string]any)
	_, list := object["backtrace"].([]any)
	_, inQueue := object["queue"].(string)
	_, ruby := time.Parse("2006/01/02 15:04:05 MST", at)
	_, php := time.Parse("Mon Jan 02 15:04:05 MST 2006", at)
	switch {
	case ruby != nil && php != nil:
		return fmt.Errorf("failed_at is %q in %.200q", at, entry)
	case strictWorkerID(worker) != nil:
		return fmt.Errorf("worker is %q in %.200q", worker, entry)
	case !list && object["backtrace"] != nil:
		return fmt.Errorf("backtrace is no list in %.200q", entry)
	case payload["class"] == nil:
		return fmt.Errorf("no payload with a class in %.200q", entry)
	case !inQueue:
		return fmt.Errorf("no queue in %.200q", entry)
	}
	return nil
}

// strictWorkerID is what Ruby takes apart when a worker starts.
func strictWorkerID(id string) error {
	parts := strings.SplitN(id, ":", 3)
	if len(parts) != 3 || parts[0] == "" || strings.Trim(parts[2], ",") == "" {
		return fmt.Errorf("worker %q has not three parts", id)
	}
	_, err := strconv.Atoi(parts[1])
	return err
}

func strictWorking(value string) error {
	object, err := strictObject(value)
	if err != nil {
		return err
	}
	payload, _ := object["payload"].(map[string]any)
	at, _ := object["run_at"].(string)
	if _, err := time.Parse(time.RFC3339, at); err != nil {
		return err
	}
	if _, ok := object["queue"].(string); !ok || payload["class"] == nil {
		return fmt.Errorf("no queue or payload in %.200q", value)
	}
	return nil
}

// strictObject parses what Ruby's JSON library can parse and generate again.
func strictObject(text string) (map[string]any, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("not UTF-8: %.200q", text)
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil || object == nil || decoder.More() {
		return nil, fmt.Errorf("no object: %.200q", text)
	}
	if err := strictValue(object, 1); err != nil {
		return nil, fmt.Errorf("%w in %.200q", err, text)
	}
	if hasHalfASurrogatePair(text) {
		return nil, fmt.Errorf("half a surrogate pair in %.200q", text)
	}
	return object, nil
}

// strictValue looks for numbers that Ruby cannot write and for a depth that it
// does not read.
func strictValue(value any, depth int) error {
	if depth > 100 {
		return errors.New("more than 100 levels")
	}
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			if err := strictValue(member, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, element := range value {
			if err := strictValue(element, depth+1); err != nil {
				return err
			}
		}
	case json.Number:
		if n, err := strconv.ParseFloat(string(value), 64); err != nil || math.IsInf(n, 0) {
			return fmt.Errorf("the number %s", value)
		}
	}
	return nil
}

// hasHalfASurrogatePair looks at the escapes of JSON that is valid.
func hasHalfASurrogatePair(text string) bool {
	unit := func(at int) rune {
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(text[at+2:at+6], 16, 16)
		return rune(n)
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if first := unit(i); utf16.IsSurrogate(first) {
			if utf16.DecodeRune(first, unit(i+6)) == utf8.RuneError {
				return true
			}
			i += 6
		}
		i++ // what is escaped
	}
	return false
}
