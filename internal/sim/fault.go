package sim

import (
	"math/rand/v2"
	"time"
)

// Fault is something that a Network does to its clients.
type Fault string

const (
	FaultCut      Fault = "cut"       // the conn is over: what is under way is lost
	FaultSilent   Fault = "silent"    // a cut that an end doesn't hear of for keepAlive
	FaultHold     Fault = "hold"      // a direction stands still, and then delivers
	FaultHalfOpen Fault = "half-open" // a direction stands still, and the conn is cut later
	FaultSlow     Fault = "slow"      // bytes trickle
	FaultRefused  Fault = "refused"   // a dial fails
	FaultLate     Fault = "late"      // what follows a handshake arrives when the client may have given up
	FaultNoAnswer Fault = "no answer" // a conn that never carries anything
)

// keepAlive is when TCP would find out at last.
const keepAlive = time.Minute

// Odds are how often what goes wrong.
type Odds struct {
	Every                   time.Duration // between faults of a conn, in the mean; 0: none
	Refused, NoAnswer, Late float64       // of all dials
	MaxDelay                time.Duration // of a direction
	MinBuffer               int           // bytes that a direction holds at least
}

// plan is all that will happen to a dial.
type plan struct {
	dialing                time.Duration
	refused, try, resets   bool
	size                   int
	up, down               path
	clientDies, serverDies end
	faults                 []faultAt
}

type faultAt struct {
	Fault
	at time.Time
}

func (n *Network) plan(dice *rand.Rand) (p plan) {
	now := time.Now()
	p.dialing = upTo(dice, n.Faults.MaxDelay)
	p.try, p.resets = dice.IntN(2) == 0, dice.IntN(2) == 0
	p.size = max(n.Faults.MinBuffer, 256<<dice.IntN(9))
	for _, way := range []*path{&p.up, &p.down} {
		way.delay = upTo(dice, n.Faults.MaxDelay)
		if dice.IntN(2) == 0 {
			way.jitter = upTo(dice, n.Faults.MaxDelay)
		}
		if dice.IntN(4) == 0 {
			way.chop = 1 + dice.IntN(100)
		}
	}
	refused, silent := dice.Float64(), dice.Float64()
	if n.Faults.Every == 0 || !now.Before(n.Heals) {
		return p
	}
	if refused < n.Faults.Refused {
		p.refused = true
		return p
	}
	if silent < n.Faults.NoAnswer {
		n.cut(&p, dice, now, FaultNoAnswer)
		return p
	}
	if silent < n.Faults.NoAnswer+n.Faults.Late {
		from := now.Add(p.dialing + p.up.delay + p.up.jitter + 1)
		p.up.weather = []weather{{from: from, to: n.before(from.Add(upTo(dice, 20*time.Second)))}}
		p.faults = append(p.faults, faultAt{FaultLate, from})
	}
	for at := now; p.up.cut.IsZero(); {
		at = at.Add(p.dialing + time.Duration(dice.ExpFloat64()*float64(n.Faults.Every)))
		if !at.Before(n.Heals) {
			break
		}
		at = n.fault(&p, dice, at)
	}
	return p
}

// fault adds a fault that begins at a time, and returns when it is over.
func (n *Network) fault(p *plan, dice *rand.Rand, at time.Time) time.Time {
	kind := dice.IntN(20)
	if kind < 8 {
		n.cut(p, dice, at, FaultCut)
		return at
	}
	w := weather{from: at, to: n.before(at.Add(100*time.Millisecond + time.Duration(dice.ExpFloat64()*float64(3*time.Second))))}
	if kind >= 16 {
		w.rate = 100 << dice.IntN(6)
	}
	ways := 1 + dice.IntN(3)
	if ways&1 != 0 {
		p.up.weather = append(p.up.weather, w)
	}
	if ways&2 != 0 {
		p.down.weather = append(p.down.weather, w)
	}
	switch {
	case kind >= 16:
		p.faults = append(p.faults, faultAt{FaultSlow, at})
	case kind >= 12:
		n.cut(p, dice, w.to, FaultHalfOpen)
	default:
		p.faults = append(p.faults, faultAt{FaultHold, at})
	}
	return w.to
}

// before is t, but no later than the network heals.
func (n *Network) before(t time.Time) time.Time {
	if n.Heals.Before(t) {
		return n.Heals
	}
	return t
}

// cut ends the conn at a time. Each end learns of it on its own, later, or never.
func (n *Network) cut(p *plan, dice *rand.Rand, at time.Time, kind Fault) {
	p.faults = append(p.faults, faultAt{kind, at})
	p.up.cut, p.down.cut = at, at
	for _, e := range []*end{&p.clientDies, &p.serverDies} {
		e.err = dieWith(dice)
		switch dice.IntN(6) {
		case 0:
			e.at = at
		case 1:
			p.faults = append(p.faults, faultAt{FaultSilent, at})
			e.at = at.Add(keepAlive)
		default:
			e.at = at.Add(time.Duration(dice.ExpFloat64() * float64(2*time.Second)))
		}
	}
}

// upTo is a random time below d, most of them short.
func upTo(dice *rand.Rand, d time.Duration) time.Duration {
	x := dice.Float64()
	return time.Duration(x * x * float64(d))
}
