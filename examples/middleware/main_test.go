package main

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestTheOutputIsWhatTheCommentsPromise(t *testing.T) {
	const want = `
refused queue: vetoed by a hook: a job without a tenant
done    {"Card":"good","Cents":100} in attempt 1
buried  {"Card":"stolen","Cents":200}: charge for acme: card declined
retry   {"Card":"slow","Cents":300} in 10ms: bank timed out
retry   {"Card":"bug","Cents":400} in 10ms: queue: handler panicked: index out of range
buried  {"Card":"good","Cents":-500}: cannot charge -500 cents
retry   {"Card":"slow","Cents":300} in 10ms: bank timed out
retry   {"Card":"bug","Cents":400} in 10ms: queue: handler panicked: index out of range
done    {"Card":"slow","Cents":300} in attempt 3
buried  {"Card":"bug","Cents":400}: queue: handler panicked: index out of range
charge_card ran 9 times, for 0s in all
`
	synctest.Test(t, func(t *testing.T) { // where nothing takes time
		var out strings.Builder
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("the output is\n%s\nwant%s", got, want)
		}
	})
}
