package redis_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// point has its fields in the order of Ruby's perform(x, y, label).
type point struct {
	X, Y  int
	Label string `json:"label"`
}

// echo registers a kind that tells what it was given.
func echo[T any](mux *queue.Mux, kind string, got chan<- any) {
	queue.RegisterFuncOn(mux, kind, func(_ context.Context, job *queue.Job[T]) error {
		got <- job.Args
		return nil
	}, queue.Retry(retry.Never()))
}

func TestJobsOfRubyAndPHPRunHereWithTheirArguments(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	got := make(chan any, 1)
	echo[point](mux, "Struct", got)
	echo[*point](mux, "Pointer", got)
	echo[[]any](mux, "Slice", got)
	echo[[2]int](mux, "Array", got)
	echo[int](mux, "Number", got)
	echo[map[string]any](mux, "Map", got)
	echo[json.RawMessage](mux, "Raw", got)
	echo[any](mux, "Any", got)
	site.run(site.queue(mux))
	for _, c := range []struct {
		name, payload string
		want          any
	}{
		{"Ruby, no arguments for a struct", `{"class":"Struct","args":[]}`, point{}},
		{"Ruby, some for a struct", `{"class":"Struct","args":[1,2]}`, point{1, 2, ""}},
		{"Ruby, all for a struct", `{"class":"Struct","args":[1,2,"é"]}`, point{1, 2, "é"}},
		{"Ruby, all for a pointer", `{"class":"Pointer","args":[1,2,"a"]}`, &point{1, 2, "a"}},
		{"Ruby, a hash for a struct", `{"class":"Struct","args":[{"X":1,"label":"a"}]}`, point{1, 0, "a"}},
		{"Ruby, none for a slice", `{"class":"Slice","args":[]}`, []any{}},
		{"Ruby, many for a slice", `{"class":"Slice","args":[1,"two",{"k":null},[3]]}`, []any{1.0, "two", map[string]any{"k": nil}, []any{3.0}}},
		{"Ruby, many for an array", `{"class":"Array","args":[1,2]}`, [2]int{1, 2}},
		{"Ruby, a list for a slice", `{"class":"Slice","args":[[1,2]]}`, []any{1.0, 2.0}},
		{"Ruby, one", `{"class":"Number","args":[7]}`, 7},
		{"Ruby, none for one", `{"class":"Number","args":[]}`, 0},
		{"Ruby, a hash", `{"class":"Map","args":[{"k":[1]}]}`, map[string]any{"k": []any{1.0}}},
		{"Ruby, as they stand", `{"class":"Raw","args":[ 1, 2.50 ,"\u00e9"]}`, json.RawMessage(`[ 1, 2.50 ,"\u00e9"]`)},
		{"Ruby, into anything", `{"class":"Any","args":["a",null]}`, []any{"a", nil}},
		{"Ruby, no list of them at all", `{"class":"Slice"}`, []any{}},
		{"PHP", phpPayload("Struct", `{"X":1,"Y":2,"label":"\u00e9\/"}`, phpID()), point{1, 2, "é/"}},
		{"PHP, none", phpPayload("Map", `null`, phpID()), map[string]any(nil)},
		{"PHP, an empty array", phpPayload("Slice", `[]`, phpID()), []any{}},
		{"the older PHP", `{"class":"Number","args":[7],"id":"0af7651916cd43dd8448eb211c80319c"}`, 7},
		{"spaces and another order", " {\"args\" : [ 7 ] ,\n\"class\":\"Number\"}\n", 7},
		{"keys of somebody's plugin", `{"class":"Number","args":[7],"locale":"de","meta":{"a":[1]},"id":12}`, 7},
	} {
		site.raw("default", c.payload)
		select {
		case args := <-got:
			if !reflect.DeepEqual(args, c.want) {
				t.Errorf("%s: the handler was given %#v, want %#v", c.name, args, c.want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: %s did not run; failed has %q", c.name, c.payload, site.list("failed"))
		}
	}
}

func TestArgumentsThatDoNotFitAreBuriedAsTheyCame(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	mux := new(queue.Mux)
	got := make(chan any, 1)
	echo[point](mux, "Struct", got)
	echo[int](mux, "Number", got)
	b := site.backend()
	site.run(site.queue(mux))
	for _, payload := range []string{
		`{"class":"Struct","args":[1,2,"a","one too many"]}`,
		`{"class":"Struct","args":["no number",2]}`,
		`{"class":"Number","args":[1,2]}`,
	} {
		site.raw("default", payload)
		var entries []*backend.Entry
		site.eventually(10*time.Second, "it is buried: "+payload, func() bool {
			var err error
			entries, err = b.Peek(t.Context(), "default", backend.Dead, 0, 10)
			site.must(err)
			return len(entries) == 1
		})
		if args := site.fieldOf(payload, "args"); string(entries[0].Args) != args {
			t.Errorf("the dead job has the arguments %s, want %s", entries[0].Args, args)
		}
		n, err := b.Delete(t.Context(), "default", entries[0].Key)
		if err != nil || n != 1 {
			t.Errorf("Delete returned %d, %v", n, err)
		}
	}
}

// plugged has what the plugins of Ruby and PHP may add to a payload.
const plugged = `{"class":"A","args":[1, 2.50,"\u00e9\/"],"locale":"de","tags":[ 1.0, 12345678901234567 ],"empty":[],"none":{}}`

func TestKeysThatResqueDoesNotKnowSurviveEverySettling(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	expect := func(what string, members ...string) {
		t.Helper()
		site.eventually(10*time.Second, "it is ready again after "+what, func() bool { return len(site.list("queue:default")) == 1 })
		stored := site.list("queue:default")[0]
		for _, member := range append(members, `"args":[1, 2.50,"\u00e9\/"]`, `"locale":"de"`, `"tags":[ 1.0, 12345678901234567 ]`, `"empty":[]`, `"none":{}`) {
			if !strings.Contains(stored, member) {
				t.Errorf("after %s there is no %s in %s", what, member, stored)
			}
		}
		site.expectResqueCanRead()
	}
	for name, payload := range map[string]string{
		"no id": plugged, "an id": strings.Replace(plugged, `"args"`, `"id":"7","args"`, 1),
	} {
		site.raw("default", payload)
		d := site.reserve(b, "default")
		site.must(b.Release(t.Context(), []*backend.Delivery{d}, 0))
		expect("Release, " + name)
		d = site.reserve(b, "default")
		site.must(b.Release(t.Context(), []*backend.Delivery{d}, time.Millisecond))
		expect("Release with a delay, " + name)
		d = site.reserve(b, "default")
		site.must(b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &d.Message}}))
		expect("Retry, "+name, `"go":{"attempt":1}`)
		site.reserveFor(b, 100*time.Millisecond, "default") // and not settled
		expect("the end of a lease, "+name, `"go":{"attempt":2,"deliveries":1}`)
		d = site.reserve(b, "default")
		site.must(b.Bury(t.Context(), []backend.Burial{{Delivery: d, Message: &d.Message, Failure: backend.Failure{At: time.Now()}}}))
		entries, err := b.Peek(t.Context(), "default", backend.Dead, 0, 1)
		site.must(err)
		n, err := b.Requeue(t.Context(), "default", entries[0].Key)
		if err != nil || n != 1 {
			t.Fatalf("Requeue returned %d, %v", n, err)
		}
		expect("Bury and Requeue, " + name)
		d = site.reserve(b, "default")
		if d.Attempt != 1 || d.Deliveries != 1 {
			t.Errorf("after Requeue it is attempt %d, delivery %d", d.Attempt, d.Deliveries)
		}
		site.must(b.Ack(t.Context(), []*backend.Delivery{d}))
	}
}

func TestAJobWithoutAnIDKeepsTheOneThatItIsGiven(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.ruby("default", "A", "[1,2]")
	d := site.reserve(b, "default")
	id := d.ID
	if id == "" {
		t.Fatal("the job was given no ID")
	}
	entries, err := b.Peek(t.Context(), "default", backend.Reserved, 0, 1)
	if site.must(err); entries[0].ID != id {
		t.Errorf("Peek shows the ID %q, want %q", entries[0].ID, id)
	}
	again := func(what string) {
		t.Helper()
		d = site.reserve(b, "default")
		if d.ID != id {
			t.Fatalf("after %s the ID is %q, want %q", what, d.ID, id)
		}
	}
	site.must(b.Release(t.Context(), []*backend.Delivery{d}, 0))
	again("Release")
	site.must(b.Release(t.Context(), []*backend.Delivery{d}, time.Millisecond))
	again("Release with a delay")
	site.must(b.Retry(t.Context(), []backend.Replacement{{Delivery: d, Message: &d.Message}}))
	again("Retry")
	if d.Attempt != 2 {
		t.Errorf("after Retry it is attempt %d, want 2", d.Attempt)
	}
}

func TestAJobWithoutAnIDKeepsTheGivenOneWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	site := newResqueSite(t)
	b := site.backend()
	site.ruby("default", "A", "[1,2]")
	first := site.reserveFor(b, 100*time.Millisecond, "default")
	second := site.reserve(b, "default")
	if second.ID != first.ID || second.Attempt != 2 || second.Deliveries != 2 {
		t.Errorf("after the end of the lease the ID is %q, attempt %d, delivery %d; want %q, 2, 2",
			second.ID, second.Attempt, second.Deliveries, first.ID)
	}
}
