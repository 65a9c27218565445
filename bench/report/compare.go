// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"

	"github.com/vethtrace/vethtrace/bench/stats"
)

// Comparison is what a peer adds to a unit, over what vethtrace adds for the same hops.
type Comparison struct {
	Group    string         `json:"group"`
	Peer     string         `json:"peer"` // arms
	Ours     string         `json:"ours"`
	Unit     string         `json:"unit"`
	Share    float64        `json:"share"`   // of the peer's events that are at the same hops: so much of what it adds is compared
	PeerNs   float64        `json:"peer_ns"` // what is added, that share taken
	OursNs   float64        `json:"ours_ns"`
	Times    float64        `json:"times"`
	Interval stats.Interval `json:"interval"`
	Goal     float64        `json:"goal"` // least that Interval may reach down to; 0: none
}

// Arm is a row with the estimate that filled it.
type Arm struct {
	Row
	stats.Estimate
}

// Compare sets what a peer adds against what our row does.
func Compare(peer, ours Arm, share, goal float64) Comparison {
	c := Comparison{
		Group: ours.Group(), Peer: peer.Arm, Ours: ours.Arm, Unit: ours.Unit, Share: share, Goal: goal,
		PeerNs: share * peer.Added(), OursNs: ours.Added(),
	}
	c.Times, c.Interval = stats.Times(peer.Estimate, share, ours.Estimate)
	return c
}

// Verdict says in words what the comparison means: the goal is met when the interval's lower end is.
func (c Comparison) Verdict(noisy bool) string {
	switch {
	case noisy:
		return "too noisy"
	case c.Goal == 0:
		return ""
	}
	return goalMet(c.Times >= c.Goal, c.Interval.Lo >= c.Goal)
}

func comparisonColumns() []string {
	return []string{"peer", "adds", "vethtrace at detail", "adds", "times as much", "95% interval", "goal", "verdict"}
}

func (c Comparison) cells(noisy bool) []string {
	goal := "-"
	if c.Goal > 0 {
		goal = fmt.Sprintf(">= %.0f", c.Goal)
	}
	return []string{
		c.Peer, us(c.PeerNs), c.Ours, us(c.OursNs), fmt.Sprintf("x%.1f", c.Times),
		fmt.Sprintf("[%.1f, %.1f]", c.Interval.Lo, c.Interval.Hi), goal, c.Verdict(noisy),
	}
}
