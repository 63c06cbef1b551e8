// Package ping is the command `weft ping`: echoes to a peer, layer by layer, and
// the first layer that fails, in words.
//
// The node sends the echoes (see package weft/engine/ping); the command asks it
// to over the control socket, prints each line as it comes, and makes the last
// one, the verdict, its exit code.
package ping
