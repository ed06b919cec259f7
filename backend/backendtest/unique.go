package backendtest

const whyUnique = "A Push whose reply was lost is sent again. With UniqueIDs that succeeds and stores no second copy of a job that is in the broker already; the queue relies on it where the limits say so."

var unique = []Case{
	{
		Name:  "id-that-is-ready-is-not-stored-again",
		Needs: []Capability{UniqueIDs},
		Why:   whyUnique,
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			b.A.push(m)
			b.open().push(m)
			b.A.ack(b.A.one())
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "id-twice-in-a-batch-is-stored-once",
		Needs: []Capability{UniqueIDs},
		Why:   whyUnique,
		check: func(b *bench) {
			m, other := b.message(), b.message()
			b.A.push(m, other, m)
			b.each(b.A.take(2), m, other)
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "id-that-is-scheduled-is-not-stored-again",
		Needs: []Capability{UniqueIDs},
		Why:   whyUnique,
		check: func(b *bench) {
			m := b.message()
			m.Delay = b.delays(3)
			b.A.push(m)
			m.Delay = 0
			b.A.push(m)
			b.A.nothing(b.delays(1))
			b.A.ack(b.A.one())
			b.A.nothing(b.delays(3))
		},
	},
	{
		Name:  "id-that-is-reserved-is-not-stored-again",
		Needs: []Capability{UniqueIDs},
		Why:   whyUnique,
		check: func(b *bench) {
			m := b.message()
			b.A.push(m)
			d := b.A.one()
			b.A.push(m)
			b.A.nothing(b.quiet())
			again := d.Message
			b.A.retry(d, &again)
			b.A.push(m)
			b.A.ack(b.A.one())
			b.A.nothing(b.quiet())
		},
	},
	{
		Name:  "id-that-is-gone-is-stored-again",
		Needs: []Capability{UniqueIDs},
		Why:   "An ID is unique among what is there. A job that was done, and is pushed again under its ID on purpose, must run again; a Push that succeeds and stores nothing loses it.",
		check: func(b *bench) {
			m := b.message()
			for range 2 {
				b.A.push(m)
				b.A.ack(b.A.one())
			}
			b.A.push(m)
			b.A.do(burying, b.A.one())
			b.A.push(m)
			b.sameMessage(b.A.one(), m)
		},
	},
}
