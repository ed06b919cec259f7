package backend

import "fmt"

// MaxQueueName is the longest name of a queue, in bytes: what a beanstalkd
// tube can have.
const MaxQueueName = 200

// AllQueues stands for every queue in the queues of a Reserve, on a broker that
// has it among its [Limits]. It is no name of a queue: see [Backend] for what
// it means, and [CheckQueues] for where it may stand.
const AllQueues = "*"

// CheckQueueName returns an error that wraps [ErrInvalid] unless name can
// name a queue: 1 to [MaxQueueName] ASCII letters, digits and the characters
// - _ . : / + where the first is not a hyphen. A broker with a tighter rule
// refuses more, by the same error. Up to 80 letters, digits, - and _ are taken
// by every broker.
func CheckQueueName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: the queue has no name", ErrInvalid)
	}
	if len(name) > MaxQueueName {
		return fmt.Errorf("%w: queue name %.20q… is %d bytes long, at most %d are allowed", ErrInvalid, name, len(name), MaxQueueName)
	}
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '.', c == ':', c == '/', c == '+', c == '-' && i > 0:
		default:
			return fmt.Errorf("%w: queue name %q may not have %q at byte %d; use letters, digits and - _ . : / +, not beginning with -", ErrInvalid, name, c, i)
		}
	}
	return nil
}

// CheckQueues returns an error that wraps [ErrInvalid] unless queues can be
// those of a Reserve: at least one, each with a name that [CheckQueueName]
// takes, but for [AllQueues], which may stand last and nowhere else.
//
// Unless all is true, AllQueues in its place is [ErrUnsupported].
func CheckQueues(queues []string, all bool) error {
	if len(queues) == 0 {
		return fmt.Errorf("%w: no queue", ErrInvalid)
	}
	for i, name := range queues {
		switch {
		case name != AllQueues:
			if err := CheckQueueName(name); err != nil {
				return err
			}
		case i < len(queues)-1:
			return fmt.Errorf("%w: %q stands for every other queue and may only stand last", ErrInvalid, name)
		case !all:
			return fmt.Errorf("%w: it cannot take from all queues; name them", ErrUnsupported)
		}
	}
	return nil
}
