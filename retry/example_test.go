package retry_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/goferhq/queue/retry"
)

func ExampleExponential() {
	policy := retry.Exponential(time.Second, time.Hour).Max(5)
	fmt.Println(policy)

	// Delays are random; after the fourth attempt at most 1s × 2³.
	delay, ok := policy.Next(retry.Attempt{Number: 4})
	fmt.Println(delay <= 8*time.Second, ok)

	_, ok = policy.Next(retry.Attempt{Number: 5})
	fmt.Println(ok)
	// Output:
	// exponential(1s,1h0m0s).max(5)
	// true true
	// false
}

func ExampleList() {
	policy := retry.List(0, time.Minute, time.Hour)
	for number := 1; number <= 4; number++ {
		fmt.Println(policy.Next(retry.Attempt{Number: number}))
	}
	// Output:
	// 0s true
	// 1m0s true
	// 1h0m0s true
	// 0s false
}

func ExampleBackoff_Max() {
	policy := retry.Fixed(time.Second).Max(3)
	for number := 1; number <= 3; number++ {
		fmt.Println(policy.Next(retry.Attempt{Number: number}))
	}
	// Output:
	// 1s true
	// 1s true
	// 0s false
}

func ExampleBackoff_Until() {
	policy := retry.Fixed(10 * time.Minute).Until(time.Hour)
	fmt.Println(policy.Next(retry.Attempt{Number: 1, Elapsed: 50 * time.Minute}))
	fmt.Println(policy.Next(retry.Attempt{Number: 2, Elapsed: 51 * time.Minute}))
	// Output:
	// 10m0s true
	// 0s false
}

func ExampleIf() {
	errDeclined := errors.New("card declined")
	policy := retry.If(retry.Is(errDeclined), retry.Never(), retry.Fixed(time.Minute))

	timeout := errors.New("timeout")
	fmt.Println(policy.Next(retry.Attempt{Number: 1, Err: timeout}))

	err := fmt.Errorf("charge: %w", errDeclined)
	fmt.Println(policy.Next(retry.Attempt{Number: 2, Err: err}))
	// Output:
	// 1m0s true
	// 0s false
}

// A server that is too busy says when to come back.
type busyError struct{ retryAfter time.Duration }

func (e *busyError) Error() string { return "busy" }

func ExamplePolicyFunc() {
	asTold := retry.PolicyFunc(func(a retry.Attempt) (time.Duration, bool) {
		busy, ok := errors.AsType[*busyError](a.Err)
		if !ok {
			return 0, false
		}
		return busy.retryAfter, true
	})
	policy := retry.If(retry.As[*busyError](), retry.Max(asTold, 10), retry.Fixed(time.Second))

	fmt.Println(policy.Next(retry.Attempt{Number: 1, Err: &busyError{30 * time.Second}}))
	fmt.Println(policy.Next(retry.Attempt{Number: 2, Err: errors.New("reset by peer")}))
	// Output:
	// 30s true
	// 1s true
}

func ExampleParse() {
	policy, err := retry.Parse("fixed(90s).max(3)")
	fmt.Println(policy, err)

	_, err = retry.Parse("fixed(90)")
	fmt.Println(errors.Is(err, retry.ErrSyntax))
	// Output:
	// fixed(1m30s).max(3) <nil>
	// true
}
