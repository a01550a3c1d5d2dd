package main

import (
	"iter"
	"math/rand/v2"

	"github.com/wsctl/wsctl"
)

// Table is the controller: a table with dice, which all pages share.
type Table struct{}

// rolled tells pages what another page rolled.
var rolled = wsctl.NewEvent[Throw]("rolled")

// Dice are what is thrown.
type Dice struct {
	Count int `json:"count"`
	Sides int `json:"sides"`
}

// Validate is asked before a method gets its Dice.
func (d Dice) Validate() error {
	if d.Count < 1 || d.Count > 6 {
		return wsctl.Errorf(wsctl.CodeBadRequest, "There are 1 to 6 dice.")
	}
	if d.Sides < 2 || d.Sides > 20 {
		return wsctl.Errorf(wsctl.CodeBadRequest, "Dice have 2 to 20 sides.")
	}
	return nil
}

// throw returns the number on each die.
func (d Dice) throw() []int {
	faces := make([]int, d.Count)
	for i := range faces {
		faces[i] = 1 + rand.IntN(d.Sides)
	}
	return faces
}

// Throw is what the dice show.
type Throw struct {
	Faces []int `json:"faces"`
	Total int   `json:"total"`
}

// Roll throws the dice once. The page that asked gets the answer, the others an event.
func (t *Table) Roll(s *wsctl.Socket, d Dice) (Throw, error) {
	faces := d.throw()
	throw := Throw{faces, sum(faces)}
	return throw, rolled.Send(s.Hub().Everyone().Except(s), throw)
}

// Odds is how often each total came.
type Odds struct {
	Throws int `json:"throws"`
	// Shares are of all throws; the first is that of the least total, which is the number of dice.
	Shares []float64 `json:"shares"`
}

// The odds are those of some throws more each time they are told.
const (
	oddsItems = 100
	oddsStep  = 1000
)

// Odds throws the dice over and over, and tells in between what came. It is no faster than the page that looks on: the
// loop stands still until more is wanted, and ends when the page leaves it.
func (t *Table) Odds(_ *wsctl.Socket, d Dice) iter.Seq2[Odds, error] {
	return func(yield func(Odds, error) bool) {
		counts := make([]int, d.Count*(d.Sides-1)+1)
		for item := range oddsItems {
			for range oddsStep {
				counts[sum(d.throw())-d.Count]++
			}
			odds := Odds{Throws: (item + 1) * oddsStep, Shares: make([]float64, len(counts))}
			for i, n := range counts {
				odds.Shares[i] = float64(n) / float64(odds.Throws)
			}
			if !yield(odds, nil) {
				return
			}
		}
	}
}

func sum(faces []int) (total int) {
	for _, n := range faces {
		total += n
	}
	return total
}
