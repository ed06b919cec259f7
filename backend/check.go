package backend

import "fmt"

// CheckMessage returns an error unless m can be stored by a broker with limits:
// what a driver checks in Push and in Retry before it stores anything.
//
// The error wraps [ErrInvalid] for what no broker takes: no message at all, one
// without an ID or a kind, a queue that [CheckQueueName] refuses, a negative
// delay. It wraps [ErrUnsupported] for what this one cannot do: a delay above
// MaxDelay, a priority that is not from MinPriority to MaxPriority.
//
// The size is left to the driver, which knows it once it has encoded m, and so
// is what its broker refuses besides.
func CheckMessage(m *Message, limits Limits) error {
	switch {
	case m == nil:
		return fmt.Errorf("%w: no message", ErrInvalid)
	case m.ID == "":
		return fmt.Errorf("%w: the message has no ID", ErrInvalid)
	case m.Kind == "":
		return fmt.Errorf("%w: the message has no kind", ErrInvalid)
	case m.Delay < 0:
		return fmt.Errorf("%w: negative delay %v", ErrInvalid, m.Delay)
	}
	if err := CheckQueueName(m.Queue); err != nil {
		return err
	}
	lowest, highest := limits.MinPriority, limits.MaxPriority
	switch {
	case limits.MaxDelay > 0 && m.Delay > limits.MaxDelay:
		return fmt.Errorf("%w: delay of %v, at most %v is possible", ErrUnsupported, m.Delay, limits.MaxDelay)
	case m.Priority != 0 && lowest == 0 && highest == 0:
		return fmt.Errorf("%w: priority %d: this broker has none; use queues of their own for urgent jobs", ErrUnsupported, m.Priority)
	case m.Priority < lowest || m.Priority > highest:
		return fmt.Errorf("%w: priority %d is not between %d and %d", ErrUnsupported, m.Priority, lowest, highest)
	}
	return nil
}
