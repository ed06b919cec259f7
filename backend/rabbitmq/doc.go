// Package rabbitmq is the driver for RabbitMQ 3.10 and later, over AMQP 0.9.1. A
// queue is a queue there: other producers share it, in any language.
//
// It registers the schemes
//
//	amqp://user:password@host[:5672][,host2:5672…][/vhost]
//	amqps://…                       the same over TLS; its port is 5671
//
// The user and the password are guest without any, the virtual host is /. With
// several hosts, the nodes of a cluster, one that can be reached is used, and
// another when that is lost. The user needs the permissions configure, write and
// read for all names of the virtual host. These are the parameters, of which none
// is required:
//
//	type=quorum          the type of the queues of jobs, or classic
//	max-priority=10      of classic queues: jobs have priorities from 0 to this,
//	                     at most 255; without, and on quorum queues, only 0
//	timeout=5s           of connecting to a host; and how long a call waits for a
//	                     lost connection to come back
//	heartbeat=10s        in whole seconds; after three without a sign the
//	                     connection counts as lost
//	connection_name=…    for the management page; the program's name by default
//	tls_ca=              PEM file of the authorities, instead of the system's
//	tls_cert=  tls_key=  PEM files of the client's own certificate
//	tls_server_name=     what the server's certificate must be for
//
// # What is stored
//
// The body of a message is the envelope of package backend:
//
//	{"job":"send_email","data":{…},"id":"…","attempt":1,…}
//
// Its properties (message-id, type, timestamp, priority, the job's headers) say
// the same to whoever looks at the management page. A producer in another
// language needs job and data only, and publishes persistent messages to the
// default exchange with the name of the queue as routing key:
//
//	$channel->basic_publish(new AMQPMessage('{"job":"send_email","data":{"to":"a@b.c"}}',
//		['delivery_mode' => 2, 'message_id' => $id]), '', 'email');
//
// The ID of such a job is its message-id. One that has none is given an ID when it
// is delivered, and another one should its worker die. Bodies that are no envelope
// are buried as they are.
//
// Whoever uses a queue first declares, all of it durable:
//
//	NAME                 the queue of jobs, with the arguments x-queue-type=quorum
//	                     and x-delivery-limit=1073741824; or x-queue-type=classic
//	                     and x-max-priority, if there is one
//	NAME.dead            its dead set, a quorum queue
//	gofer.delay.00 … 24  the queues and exchanges of delays, shared by all
//	gofer.delayed        the exchange below them
//	gofer.undeliverable  exchange and queue of the delayed jobs whose own queue was
//	                     deleted while they waited
//	gofer.queues         a queue with the names of all queues
//
// A queue that exists with other arguments is an error which names the argument:
// leave it to the driver to declare queues. Names that begin with "gofer." or end
// with ".dead" are its own.
//
// # What a broker of the line does here
//
//   - There are no leases. A job is held for as long as the connection of its
//     worker lives, and is given to another at once when that is lost: its handler
//     is told. A worker that hangs is noticed by its heartbeats.
//   - RabbitMQ gives up on a job that is held for longer than its setting
//     consumer_timeout, half an hour unless it is set, and closes the channel: all
//     jobs that this process holds of that queue are lost and run again. Set it to
//     more than the longest job takes.
//   - An attempt is counted by the quorum queue, also when its worker dies. On a
//     classic queue a message that comes back is stored again with its count. Such
//     a queue counts all its messages as handed out when RabbitMQ itself dies.
//   - A worker fetches as many jobs as it has room for. What it does not take
//     within 50 ms it gives back. What it has fetched counts as handed out when its
//     connection is lost: with a fourth such loss in a row the job is buried.
//   - Release, Retry and Bury store the job anew, wait for RabbitMQ's word, and
//     take the old one away then. A crash in between leaves both. What is released
//     stands at the end of the line: RabbitMQ's own requeueing would count as an
//     attempt.
//   - An ack waits for others for a millisecond or two, and has no answer. When its
//     connection is lost on the way the job runs again.
//   - Push waits for the confirm of each message. When that is lost with the
//     connection, whether the job is stored is not known, and the error says so.
//   - While RabbitMQ is short of memory or of disk it takes no messages: Push waits
//     until its context ends. Jobs are taken and settled meanwhile.
//   - Delays are rounded up to the second, and end at 388 days. The first delayed
//     job of a virtual host waits a second more, until the queues of delays are
//     made. A queue that refuses jobs by a policy (overflow reject-publish) can
//     hold up the delayed jobs of others.
//   - RabbitMQ shows the dead by handing them out. Whoever lists, requeues or deletes
//     some reads all of them, one process at a time.
//   - What is ready or scheduled cannot be listed, removed, purged or paused over
//     AMQP, and of counts there are those of ready and dead jobs. The management
//     page does all of that but for the scheduled ones.
//   - RabbitMQ 3 keeps the declaration of a queue in memory for some seconds. One
//     that is killed then has forgotten the queue, and what it confirmed of it.
package rabbitmq
