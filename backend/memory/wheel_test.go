package memory

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// model is a wheel as simple as can be.
type model struct {
	tick int64
	jobs map[*job]bool
}

func (m *model) advance(now int64) []*job {
	m.tick = max(m.tick, now)
	var due []*job
	for j := range m.jobs {
		if j.due <= m.tick {
			due = append(due, j)
			delete(m.jobs, j)
		}
	}
	return due
}

// pair drives a wheel and its model side by side.
type pair struct {
	t     *testing.T
	wheel wheel
	model model
	jobs  []*job // those in the wheel
}

func (p *pair) add(due int64) {
	j := &job{due: due}
	p.wheel.add(j)
	p.model.jobs[j] = true
	p.jobs = append(p.jobs, j)
}

func (p *pair) remove(n int) {
	if len(p.jobs) == 0 {
		return
	}
	n %= len(p.jobs)
	j := p.jobs[n]
	p.jobs = slices.Delete(p.jobs, n, n+1)
	p.wheel.remove(j)
	delete(p.model.jobs, j)
}

func (p *pair) advance(now int64) {
	p.t.Helper()
	want := p.model.advance(now)
	var got []*job
	for j := p.wheel.advance(now); j != nil; j = j.next {
		got = append(got, j)
	}
	byDue := func(x, y *job) int { return int(x.due - y.due) }
	slices.SortFunc(want, byDue)
	slices.SortFunc(got, byDue)
	if !slices.EqualFunc(got, want, func(x, y *job) bool { return x.due == y.due }) {
		p.t.Fatalf("at %d: %d jobs were due, want %d", now, len(got), len(want))
	}
	for _, j := range got {
		j.prev, j.next = nil, nil
	}
	p.jobs = slices.DeleteFunc(p.jobs, func(j *job) bool { return !p.model.jobs[j] })
	p.check()
}

// check compares all that can be asked of the wheel with the model.
func (p *pair) check() {
	p.t.Helper()
	if p.wheel.len != len(p.model.jobs) || p.wheel.tick != p.model.tick {
		p.t.Fatalf("wheel has %d jobs at tick %d, want %d at %d", p.wheel.len, p.wheel.tick, len(p.model.jobs), p.model.tick)
	}
	n := 0
	for j := range p.wheel.all {
		if n++; !p.model.jobs[j] {
			p.t.Fatalf("the wheel holds a job due at %d that it should not", j.due)
		}
	}
	if n != len(p.model.jobs) {
		p.t.Fatalf("%d jobs are listed, want %d", n, len(p.model.jobs))
	}
	next, ok := p.wheel.next()
	if ok != (n > 0) {
		p.t.Fatalf("next says %t of %d jobs", ok, n)
	}
	for j := range p.model.jobs {
		if j.due > p.wheel.tick && next > j.due {
			p.t.Fatalf("next says %d, after a job that is due at %d", next, j.due)
		}
	}
}

func TestWheelAgreesWithANaiveOne(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		// Spans of all sizes, those of a millisecond as likely as those of years.
		span := func() int64 { return random.Int64N(int64(1) << (1 + random.IntN(44))) }
		p := &pair{t: t, model: model{jobs: map[*job]bool{}}}
		for range 1000 {
			switch random.IntN(8) {
			case 0:
				p.remove(random.Int())
			case 1:
				p.advance(p.wheel.tick + random.Int64N(int64(1)<<(1+random.IntN(30))))
			case 2: // as the alarm does
				if next, ok := p.wheel.next(); ok {
					p.advance(next)
				}
			case 3:
				p.add(p.wheel.tick - span()) // due already
			default:
				p.add(p.wheel.tick + span())
			}
		}
		p.advance(farthest)
		if len(p.model.jobs) > 0 {
			t.Errorf("seed %d: %d jobs are never due", seed, len(p.model.jobs))
		}
	}
}

func TestWaitingForTheFarthestJobTakesAStepALevel(t *testing.T) {
	for _, due := range []int64{1, 63, 64, 4095, 86_400_000, 1<<43 - 1, farthest} {
		var w wheel
		w.add(&job{due: due})
		steps := 0
		for w.len > 0 {
			next, _ := w.next()
			w.advance(next)
			steps++
		}
		if steps > levels || w.tick != due {
			t.Errorf("a job due at %d took %d steps, to tick %d", due, steps, w.tick)
		}
	}
}

func TestJobsBeyondTheWheelComeAtItsEnd(t *testing.T) {
	var w wheel
	j := &job{due: 1<<63 - 1}
	w.add(j)
	if got := w.advance(farthest); got != j {
		t.Error("the job was not due at the farthest tick")
	}
}

// FuzzWheel reads a script: an operation and the span that it is about, each
// span of a number of bits so that large ones are as likely as small ones.
func FuzzWheel(f *testing.F) {
	f.Add([]byte{0, 10, 1, 0, 20, 7, 2, 11, 0, 3, 0, 0})
	f.Add([]byte{0, 44, 255, 0, 6, 0, 0, 12, 0, 2, 44, 0, 1, 0, 0, 3, 0, 0, 3, 0, 0})
	f.Add([]byte{0, 6, 63, 0, 6, 64, 2, 6, 63, 2, 1, 1, 4, 3, 3, 1, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &pair{t: t, model: model{jobs: map[*job]bool{}}}
		for ; len(script) >= 3 && p.wheel.tick < farthest>>1; script = script[3:] {
			span := int64(1)<<(script[1]%45) + int64(script[2])
			switch script[0] % 5 {
			case 0:
				p.add(p.wheel.tick + span)
			case 1:
				p.remove(int(span))
			case 2:
				p.advance(p.wheel.tick + span)
			case 3:
				if next, ok := p.wheel.next(); ok {
					p.advance(next)
				}
			case 4:
				p.add(p.wheel.tick - span)
			}
			p.check()
		}
	})
}
