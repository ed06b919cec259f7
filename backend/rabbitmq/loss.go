package rabbitmq

import "github.com/goferhq/queue/backend"

// NotifyLost has f called when a channel is lost over which jobs are held; see
// [backend.LossNotifier].
func (b *Backend) NotifyLost(f func()) (stop func()) { return b.losses.Add(f) }

// Lost reports whether the channel is lost over which d came: RabbitMQ gives the
// job to somebody else then.
func (b *Backend) Lost(d *backend.Delivery) bool {
	l, ok := d.Receipt.(*loan)
	return ok && l.channel.line.consumer.backend == b && l.channel.lost.Load()
}
