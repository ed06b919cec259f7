package backendtest

import "github.com/goferhq/queue/backend"

var order = []Case{
	{
		Name:  "is-that-of-the-pushes",
		Needs: []Capability{Order},
		Why:   "Jobs that were enqueued first are due first. In a stack the oldest wait for as long as there is load.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 12)
			for _, m := range messages[:4] {
				b.A.push(m)
			}
			b.A.push(messages[4:]...)
			b.inOrder(b.takeSingly(12), messages...)
		},
	},
	{
		Name:  "holds-within-a-batch",
		Needs: []Capability{Order},
		Why:   "A batch is handed to the workers in the order in which it stands.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 30)
			b.A.push(messages...)
			b.inOrder(b.A.take(30), messages...)
		},
	},
	{
		Name:  "puts-a-retry-behind-those-that-wait",
		Needs: []Capability{Order},
		Why:   "A message that failed has had its turn. One that is retried in front of the others keeps them from ever having theirs.",
		check: func(b *bench) {
			messages := b.messagesFor(b.queue, 3)
			b.A.push(messages...)
			d := b.A.one()
			m := d.Message
			b.A.retry(d, &m)
			b.inOrder(b.takeSingly(3), messages[1], messages[2], messages[0])
		},
	},
	{
		Name:  "is-by-priority",
		Needs: []Capability{Priorities, Order},
		Why:   "Higher priority goes first, whenever it was pushed: that is what it is for.",
		check: func(b *bench) {
			messages := b.ofPriorities(0, 1, 2, 3, 4)
			b.A.push(messages[2], messages[0], messages[4], messages[1], messages[3])
			b.inOrder(b.takeSingly(5), messages[4], messages[3], messages[2], messages[1], messages[0])
		},
	},
	{
		Name:  "is-by-priority-within-a-batch",
		Needs: []Capability{Priorities, Order},
		Why:   "A worker that takes several messages at once takes the urgent ones.",
		check: func(b *bench) {
			messages := b.ofPriorities(0, 1, 2, 3)
			b.A.push(messages...)
			b.inOrder(b.A.take(2), messages[3], messages[2])
		},
	},
	{
		Name:  "knows-priorities-below-zero",
		Needs: []Capability{Priorities, Order},
		Why:   "Zero is the default, so that what may wait needs a priority below it.",
		check: func(b *bench) {
			limits := backend.LimitsOf(b.A.Backend)
			if limits.MinPriority >= 0 {
				b.skip("the lowest priority is %d", limits.MinPriority)
			}
			low, normal := b.message(), b.message()
			low.Priority = limits.MinPriority
			b.A.push(low, normal)
			b.inOrder(b.takeSingly(2), normal, low)
		},
	},
	{
		Name:  "is-that-of-the-pushes-within-a-priority",
		Needs: []Capability{Priorities, Order},
		Why:   "Messages of the same priority are each other's equals: the older goes first.",
		check: func(b *bench) {
			low, high := b.messagesFor(b.queue, 3), b.messagesFor(b.queue, 3)
			var mixed []*backend.Message
			for i := range 3 {
				high[i].Priority = backend.LimitsOf(b.A.Backend).MaxPriority
				mixed = append(mixed, low[i], high[i])
			}
			b.A.push(mixed...)
			b.inOrder(b.takeSingly(6), append(high, low...)...)
		},
	},
	{
		Name:  "keeps-the-priority-of-a-retry",
		Needs: []Capability{Priorities, Order},
		Why:   "An urgent job that failed once is still urgent.",
		check: func(b *bench) {
			high := b.ofPriorities(1)[0]
			b.A.push(high)
			d := b.A.one()
			low := b.message()
			b.A.push(low)
			m := d.Message
			b.A.retry(d, &m)
			b.inOrder(b.takeSingly(2), high, low)
		},
	},
	{
		Name:  "keeps-the-priority-of-a-delayed-message",
		Needs: []Capability{Priorities, Order},
		Why:   "An urgent job that was scheduled for now is urgent now.",
		check: func(b *bench) {
			high := b.ofPriorities(1)[0]
			low := b.message()
			high.Delay = b.delays(1)
			b.A.push(high, low)
			b.sleep(b.roundedUp(high.Delay) + b.Slack)
			b.inOrder(b.takeSingly(2), high, low)
		},
	},
	{
		Name:  "is-by-queue-before-priority",
		Needs: []Capability{Priorities},
		Why:   "Priorities compare the messages of one queue. Between queues the order that the worker names decides, and nothing else.",
		check: func(b *bench) {
			first, second := b.queueNamed("first"), b.queueNamed("second")
			high := b.ofPriorities(1)[0]
			high.Queue = second
			low := b.messagesFor(first, 1)[0]
			b.A.push(high, low)
			b.inOrder(b.takeSingly(2, first, second), low, high)
		},
	},
}

// ofPriorities returns a message for each rank: 0 is the default priority,
// higher ranks are higher priorities as far as the broker has that many.
func (b *bench) ofPriorities(ranks ...int) []*backend.Message {
	highest := backend.LimitsOf(b.A.Backend).MaxPriority
	messages := b.messagesFor(b.queue, len(ranks))
	for i, rank := range ranks {
		if rank > highest {
			b.skip("the highest priority is %d", highest)
		}
		messages[i].Priority = rank
	}
	return messages
}
