package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"github.com/goferhq/queue/retry"
)

// putPositional stores a job as Ruby would enqueue it.
func (w *workshop) putPositional(kind, args string) {
	w.t.Helper()
	must(w.t, w.eye.PutRaw(w.t.Context(), queue.DefaultQueue, fmt.Appendf(nil, `{"job":%q,"data":%s,"positional":true}`, kind, args)))
}

// expectPositional runs a job with a list of arguments, whose handler takes
// a T, and fails the test unless it is given want.
func expectPositional[T any](t *testing.T, args string, want T) {
	t.Helper()
	inWorkshop(t, func(t *testing.T, w *workshop) {
		ran := false
		handle(w, "greet", func(_ context.Context, job *queue.Job[T]) error {
			ran = true
			if !reflect.DeepEqual(job.Args, want) {
				t.Errorf("%s became %#v, want %#v", args, job.Args, want)
			}
			return nil
		})
		w.putPositional("greet", args)
		w.run()
		w.expectEmpty()
		if !ran {
			t.Errorf("%s was not handled", args)
		}
	})
}

// expectMisfit runs a job with a list of arguments that is no T.
func expectMisfit[T any](t *testing.T, args, want string) {
	t.Helper()
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[T]) error {
			t.Errorf("%s was handled as %#v", args, job.Args)
			return nil
		})
		w.putPositional("greet", args)
		w.run()
		buried := w.buried()
		expectText(t, buried.Failure.Error, queue.ErrInvalidArgs.Error(), want)
		if string(buried.Args) != args || string(buried.Extra[backend.ExtraPositional]) != "true" {
			t.Errorf("buried as %s with %s, want it as it was", buried.Args, buried.Extra)
		}
	})
}

type address struct{ Street, Town string }

type letter struct {
	To      string `json:"recipient"`
	_       int
	Skipped int `json:"-"`
	Dash    int
	address // not exported, as a field
	Address *address
	Urgent  bool
}

type parcel struct {
	address2
	Parts
	Weight float64
}

type (
	address2 struct{ X int }
	Parts    struct{ A, B int }
)

// pair is a list in JSON.
type pair struct{ first, second int }

func (p *pair) UnmarshalJSON(raw []byte) error {
	_, err := fmt.Sscanf(string(raw), "[%d,%d]", &p.first, &p.second)
	return err
}

// colour is a text in JSON.
type colour []byte

func (c *colour) UnmarshalText(text []byte) error {
	*c = append((*c)[:0], text...)
	return nil
}

func TestPositionalArgumentsFillAStruct(t *testing.T) {
	all := letter{To: "ann", Dash: 2, Address: &address{Street: "x"}, Urgent: true}
	expectPositional(t, `["ann", 2, {"Street":"x"}, true]`, all)
	expectPositional(t, `["ann", 2, {"Street":"x"}, true]`, &all)
	expectPositional(t, `["ann", 2]`, letter{To: "ann", Dash: 2})
	expectPositional(t, `["ann", 2, null]`, letter{To: "ann", Dash: 2})
	expectPositional(t, ` [ ] `, letter{})
	expectPositional(t, `[]`, &letter{})
	expectPositional(t, `[]`, struct{}{})
	expectPositional(t, `[{"A":1,"B":2},0.5]`, parcel{Parts: Parts{1, 2}, Weight: 0.5})
	nested := &all
	expectPositional(t, `["ann",2,{"Street":"x"},true]`, &nested)

	expectMisfit[letter](t, `["ann",2,{},true,5]`, "5 positional arguments, at most 4 fit into queue_test.letter")
	expectMisfit[*letter](t, `["ann","two"]`, "positional argument 2, the field Dash: json: cannot unmarshal string")
	expectMisfit[struct{}](t, `[1]`, "1 positional arguments, at most 0")
	expectMisfit[letter](t, `{"recipient":"ann"}`, "positional arguments: json: cannot unmarshal object")
}

func TestPositionalArgumentsStayAListForWhatTakesOne(t *testing.T) {
	for _, args := range []string{`[]`, `[1]`, `[1,2]`} {
		var want []any
		must(t, json.Unmarshal([]byte(args), &want))
		ints := make([]int, len(want))
		for i := range ints {
			ints[i] = i + 1
		}
		expectPositional[queue.Raw](t, args, queue.Raw(args))
		expectPositional[any](t, args, want)
		expectPositional(t, args, ints)
		expectPositional(t, args, &ints)
		expectPositional(t, args, [2]int(append(ints, 0, 0)))
	}
	expectPositional(t, `[1,2]`, pair{1, 2})
	expectPositional(t, `[1,2]`, &pair{1, 2})
	expectMisfit[[]int](t, `["x"]`, "cannot unmarshal string")
	expectMisfit[pair](t, `[]`, "expected integer")
}

func TestTheOnlyPositionalArgumentIsTheValueOfAnyOtherType(t *testing.T) {
	day := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	ann, none := "ann", (*string)(nil)
	expectPositional(t, `["ann"]`, ann)
	expectPositional(t, `["ann"]`, &ann)
	expectPositional(t, `[7]`, 7)
	expectPositional(t, `[true]`, true)
	expectPositional(t, `[{"a":1}]`, map[string]int{"a": 1})
	expectPositional(t, `["2026-11-21T00:00:00Z"]`, day)
	expectPositional(t, `["2026-11-21T00:00:00Z"]`, &day)
	expectPositional(t, `["red"]`, colour("red"))
	expectPositional(t, `[]`, "")
	expectPositional(t, `[]`, 0)
	expectPositional(t, `[]`, none)
	expectPositional(t, `[]`, time.Time{})
	expectPositional(t, `[]`, map[string]int(nil))
	expectPositional(t, `[]`, colour(nil))
	expectPositional(t, `[null]`, "")

	expectMisfit[string](t, `["ann","bob"]`, "2 positional arguments for one string")
	expectMisfit[*int](t, `[1,2]`, "2 positional arguments for one int")
	expectMisfit[int](t, `["x"]`, "cannot unmarshal string")
	expectMisfit[int](t, `7`, "positional arguments: json: cannot unmarshal number")
	expectMisfit[time.Time](t, `["2026-11-21T00:00:00Z",1]`, "2 positional arguments for one time.Time")
}

func TestPositionalArgumentsSurviveARetry(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		var tr trace
		handle(w, "greet", func(_ context.Context, job *queue.Job[letter]) error {
			tr.add(fmt.Sprintf("%d %s %d", job.Attempt, job.Args.To, job.Args.Dash))
			if job.Attempt == 4 {
				return nil
			}
			return errors.New("not yet")
		}, queue.Retry(retry.Fixed(time.Second)))
		w.putPositional("greet", `["ann",2]`)
		w.run()
		pass(time.Minute)
		if got, want := tr.String(), "1 ann 2, 2 ann 2, 3 ann 2, 4 ann 2"; got != want {
			t.Errorf("the attempts were %q, want %q", got, want)
		}
		w.expectEmpty()
	})
}

func TestOnlyTrueMarksArgumentsAsPositional(t *testing.T) {
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(_ context.Context, job *queue.Job[string]) error {
			if job.Args != "ann" {
				t.Errorf("got %q", job.Args)
			}
			return nil
		})
		for _, mark := range []string{`false`, `null`, `"true"`, `1`, `{}`} {
			must(t, w.eye.PutRaw(t.Context(), queue.DefaultQueue, fmt.Appendf(nil, `{"job":"greet","data":"ann","positional":%s}`, mark)))
		}
		w.enqueue("greet", "ann")
		w.run()
		w.expectEmpty()
	})
}

func TestMiddlewareSeesPositionalArgumentsAsTheyAre(t *testing.T) {
	seen := ""
	look := func(next queue.Handler[queue.Raw]) queue.Handler[queue.Raw] {
		return queue.HandlerFunc[queue.Raw](func(ctx context.Context, job *queue.Job[queue.Raw]) error {
			seen = string(job.Args)
			return next.Handle(ctx, job)
		})
	}
	inWorkshop(t, func(t *testing.T, w *workshop) {
		handle(w, "greet", func(context.Context, *queue.Job[letter]) error { return nil })
		w.putPositional("greet", `["ann",2]`)
		w.run()
		w.expectEmpty()
		if seen != `["ann",2]` {
			t.Errorf("the middleware saw %s", seen)
		}
	}, queue.Use(look))
}
