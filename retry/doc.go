// Package retry decides when a failed job runs again.
//
//	retry.Exponential(time.Second, time.Hour)        // up to 1s, 2s, 4s, … 1h, at random
//	retry.Exponential(time.Second, time.Hour).Max(5) // the same, and five attempts in all
//	retry.List(0, time.Minute, time.Hour)            // at once, after a minute, after an hour, no more
//	retry.Default().Until(24 * time.Hour)            // the default, for a day
//	retry.Never()                                    // one attempt is all
//
// A [Policy] is asked after each failed attempt and answers with a delay, or
// with "do not retry". [Backoff] is the policy that this package builds: a
// small, immutable, comparable value. Its zero value is the default policy.
//
// # Choosing by error
//
// [If] picks between two policies by the error that ended the attempt:
//
//	retry.If(retry.Is(ErrCardDeclined), retry.Never(), retry.Default())
//
// The functions [Max] and [Until] limit any Policy as the methods of the same
// name limit a Backoff.
//
// # Text
//
// A Backoff can travel with a job. Its text reads like the Go that made it,
// with durations as [time.Duration.String] writes them, and [Parse] reads it
// back exactly:
//
//	exponential(1s,1h0m0s).max(5).until(24h0m0s)
//
// Policies made by [If], by the functions [Max] and [Until], or by your own
// code hold functions, have no text and stay in the process that made them.
//
// # Guarantees
//
// A Backoff never returns a negative delay, nor one above [MaxDelay], whatever
// the attempt: large numbers saturate, they do not overflow. Every policy of
// this package is safe for concurrent use, provided that the functions and
// policies given to it are.
//
// Constructors panic if an argument makes no sense, such as a negative delay:
// that is a mistake in the program. Text may come from outside, so [Parse]
// returns an error instead.
package retry
