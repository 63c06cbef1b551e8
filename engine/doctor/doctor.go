package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"weft/engine/control"
	"weft/engine/trace"
)

// A Subject is what is examined.
type Subject struct {
	System System
	// Status is what the node says of itself; nil: no daemon answered.
	Status *control.Status
	// Why says why there is no Status.
	Why string
	// Beside says that this process is not the node: what the checks see of
	// the process, such as its capabilities, is then not the node's.
	Beside bool
	// Drops are the flight recorder's records, in any order; may be nil.
	Drops []trace.Record
	// Peer probes one peer; nil: not possible. It is called by several
	// goroutines, and must return when its context ends.
	Peer func(context.Context, control.Peer) PeerProbe
	// SubnetFile is where subnet.env is, if Status does not say.
	SubnetFile string
	// Buffer is how many bytes the node asks for each socket buffer; 0: not
	// known.
	Buffer int
	// Now tells the time; nil: time.Now.
	Now func() time.Time
}

// DefaultSubnetFile is flannel's.
const DefaultSubnetFile = "/run/flannel/subnet.env"

const (
	// maxProbes is how many peers are probed at once.
	maxProbes = 64
	// perPeer is how long one peer may take: two rounds of three tries of a
	// second, for what is asked after the echoes. A silent one must leave time
	// for the rest.
	perPeer = 7 * time.Second
)

// A row is one check. run returns at least one finding.
type row struct {
	id    string
	about string
	run   func(*visit) []control.Check
}

// A peerRow is a check of one peer. run returns nil where nothing is to say.
type peerRow struct {
	id    string
	about string
	run   func(*visit, control.Peer, PeerProbe) []control.Check
}

// A Row tells of a check: its id, which is stable, and what it looks at.
type Row struct{ ID, About string }

// Table lists the checks in the order of a report.
func Table() (rows []Row) {
	for _, r := range slices.Concat(hostRows, nodeRows, clusterRows, trafficRows) {
		rows = append(rows, Row{r.id, r.about})
	}
	for _, r := range peerRows {
		rows = append(rows, Row{r.id, r.about})
	}
	return rows
}

// Run makes all checks. It returns early, with those that are left skipped,
// when ctx ends.
func Run(ctx context.Context, s Subject) control.Report {
	v := newVisit(ctx, s)
	report := control.Report{Schema: control.Schema, Checks: []control.Check{}}
	if s.Status != nil {
		report.Node = s.Status.Node.Name
	}
	for _, r := range slices.Concat(hostRows, nodeRows, clusterRows, trafficRows) {
		found := cut(ctx)
		if found == nil {
			found = r.run(v)
		}
		for _, c := range found {
			c.ID = r.id
			report.Checks = append(report.Checks, c)
		}
	}
	report.Checks = append(report.Checks, v.peers()...)
	return report
}

// cut is the finding of a check that had no time left.
func cut(ctx context.Context) []control.Check {
	if err := ctx.Err(); err != nil {
		return skip("there was no time left: %v", err)
	}
	return nil
}

// A visit is one run: the subject, and what of the host more than one check
// needs.
type visit struct {
	Subject
	ctx     context.Context
	links   func() ([]Link, error)
	chains  func() ([]Chain, error)
	sockets func() ([]Socket, error)
	routes  func() ([]Route, error)

	namesakes func() map[string]int // how many peers have a name
}

func newVisit(ctx context.Context, s Subject) *visit {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.SubnetFile == "" {
		s.SubnetFile = DefaultSubnetFile
	}
	if s.Status != nil && s.Status.Node.SubnetFile != "" {
		s.SubnetFile = s.Status.Node.SubnetFile
	}
	return &visit{Subject: s, ctx: ctx,
		links:   sync.OnceValues(s.System.Links),
		chains:  sync.OnceValues(func() ([]Chain, error) { return s.System.Chains(ctx) }),
		sockets: sync.OnceValues(s.System.Sockets),
		routes:  sync.OnceValues(s.System.Routes),

		namesakes: sync.OnceValue(func() map[string]int { return namesakes(s.Status) }),
	}
}

// peers probes every peer and makes the checks of each, in the order of Status.
func (v *visit) peers() (checks []control.Check) {
	if v.Status == nil {
		return nil
	}
	list := v.Status.Peers
	probes, asked := v.probes(list)
	for i, p := range list {
		var found []control.Check
		for _, r := range peerRows {
			for _, c := range r.run(v, p, probes[i]) {
				c.ID = r.id
				found = append(found, c)
			}
			if r.id == peerID && !asked[i] {
				c := skip("not asked: the time was over")[0]
				c.ID = stateID
				found = append(found, c)
			}
		}
		for _, c := range found {
			c.Peer = v.name(p)
			checks = append(checks, c)
		}
	}
	return checks
}

// probes probes peers, many at once. Those that time was left for are asked;
// all are where nothing can be probed.
func (v *visit) probes(list []control.Peer) (probes []PeerProbe, asked []bool) {
	probes, asked = make([]PeerProbe, len(list)), make([]bool, len(list))
	if v.Peer == nil {
		for i := range asked {
			asked[i] = true
		}
		return probes, asked
	}
	room := make(chan struct{}, maxProbes)
	var wg sync.WaitGroup
	for i, p := range list {
		select {
		case room <- struct{}{}:
		case <-v.ctx.Done():
		}
		if v.ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(v.ctx, perPeer)
			defer cancel()
			probes[i] = v.Peer(ctx, p)
			asked[i] = v.ctx.Err() == nil || probes[i].Small != NotTried
		})
	}
	wg.Wait()
	return probes, asked
}

// PeerName is how a report names a peer: by its name, or else by its address or
// its subnet.
func PeerName(p control.Peer) string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Public.IsValid():
		return p.Public.String()
	case p.Public6.IsValid():
		return p.Public6.String()
	case p.Subnet.IsValid():
		return p.Subnet.String()
	}
	return fmt.Sprint(p.Subnet6)
}
