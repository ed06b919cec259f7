package retry

import (
	"errors"
	"slices"
	"time"
)

// If returns a policy that follows then after an error that matches, and
// otherwise after any other. Both see the same attempt, numbered from the
// first of the job, whatever the errors before this one were.
//
// For more than two cases let otherwise be another If. See [Is] and [As] for
// the usual matches; any function that is safe for concurrent use will do.
//
// If panics if an argument is nil.
func If(match func(error) bool, then, otherwise Policy) Policy {
	if match == nil {
		panic("retry: If: match is nil")
	}
	mustHave("If", "then", then)
	mustHave("If", "otherwise", otherwise)
	return PolicyFunc(func(a Attempt) (time.Duration, bool) {
		if match(a.Err) {
			return then.Next(a)
		}
		return otherwise.Next(a)
	})
}

// Is returns a match for [If]: the error is, or wraps, one of targets, in the
// sense of [errors.Is]. Without targets it matches nothing.
func Is(targets ...error) func(error) bool {
	targets = slices.Clone(targets)
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool {
			return errors.Is(err, target)
		})
	}
}

// As returns a match for [If]: the error is, or wraps, an E, in the sense of
// [errors.AsType].
//
//	retry.If(retry.As[*json.SyntaxError](), retry.Never(), retry.Default())
func As[E error]() func(error) bool {
	return func(err error) bool {
		_, ok := errors.AsType[E](err)
		return ok
	}
}

func mustHave(function, parameter string, p Policy) {
	if p == nil {
		panic("retry: " + function + ": " + parameter + " is nil")
	}
}
