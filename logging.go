package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Logging tells what happens to each job: its start at debug, its success,
// release or cancellation at info with the duration, a retry at warn, a burial
// at error, a panic with its stack. The arguments of jobs are not logged; see LoggingArgs.
func Logging(logger *slog.Logger) Middleware { return logging(logger, false) }

// LoggingArgs is Logging with the arguments of jobs. They often hold what does
// not belong into a log.
func LoggingArgs(logger *slog.Logger) Middleware { return logging(logger, true) }

func logging(logger *slog.Logger, args bool) Middleware {
	if logger == nil {
		panic("queue: Logging with a nil logger")
	}
	return func(next Handler[Raw]) Handler[Raw] {
		return HandlerFunc[Raw](func(ctx context.Context, job *Job[Raw]) error {
			if !logger.Enabled(ctx, slog.LevelError) {
				return next.Handle(ctx, job)
			}
			if !job.foregone() && logger.Enabled(ctx, slog.LevelDebug) {
				logger.LogAttrs(ctx, slog.LevelDebug, "job started", jobAttrs(job, args)...)
			}
			start := time.Now()
			err := next.Handle(ctx, job)
			verdict, delay := VerdictOf(err)
			level, message := lineOf(verdict)
			switch {
			case job.attempt != nil && job.attempt.disowned():
				level, message = slog.LevelWarn, "job ended after it was given to another worker; its outcome does not count"
			case verdict == Released && errors.Is(err, ErrUnknownKind):
				level = slog.LevelWarn
			}
			if !logger.Enabled(ctx, level) {
				return err
			}
			attrs := append(jobAttrs(job, args), slog.Duration("duration", time.Since(start)))
			if verdict == Retried || verdict == Released {
				attrs = append(attrs, slog.Duration("in", delay))
			}
			if err != nil {
				attrs = append(attrs, slog.Any("error", cause(err)))
			}
			if p, ok := errors.AsType[*PanicError](err); ok {
				attrs = append(attrs, slog.Any("backtrace", backtrace(p.Stack)))
			}
			logger.LogAttrs(ctx, level, message, attrs...)
			return err
		})
	}
}

// lineOf returns the level and the message for a verdict.
func lineOf(v Verdict) (slog.Level, string) {
	switch v {
	case Done:
		return slog.LevelInfo, "job done"
	case Released:
		return slog.LevelInfo, "job put back"
	case Cancelled:
		return slog.LevelInfo, "job cancelled"
	case Buried:
		return slog.LevelError, "job buried"
	case Retried:
		return slog.LevelWarn, "job failed, will be retried"
	default:
		return slog.LevelWarn, "job failed"
	}
}

func jobAttrs(job *Job[Raw], args bool) []slog.Attr {
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("kind", job.Kind),
		slog.String("id", job.ID),
		slog.String("queue", job.Queue),
		slog.Int("attempt", job.Attempt))
	if args {
		attrs = append(attrs, slog.String("args", string(job.Args)))
	}
	return attrs
}
