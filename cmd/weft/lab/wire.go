package lab

import (
	"errors"

	"weft/cmd/weft/lab/space"
)

// SetWire chooses between two kinds of underlay. A wire-like one carries
// frames up to its MTU and nothing larger, as a real network without offloads
// does. The other is the veth as it comes, over which the kernel passes
// superpackets of up to 64 KB whole. A new lab has the latter.
func (l *Lab) SetWire(wireLike bool) error {
	return l.each(func(n *Node) error {
		return errors.Join(
			n.Host.SetFeatures("eth0", !wireLike, space.Wire...),
			l.Switch.SetFeatures(n.Name, !wireLike, space.Wire...),
		)
	})
}

// SetMTU sets the MTU of the node's link to the underlay, both ends of it.
func (n *Node) SetMTU(mtu int) error {
	return errors.Join(n.Host.MTU("eth0", mtu), n.lab.Switch.MTU(n.Name, mtu))
}

// Unplug takes the node's link to the underlay down on the switch's side: the
// node sees its carrier go.
func (n *Node) Unplug() error { return n.lab.Switch.Down(n.Name) }

// Plug undoes Unplug.
func (n *Node) Plug() error { return n.lab.Switch.Up(n.Name) }
