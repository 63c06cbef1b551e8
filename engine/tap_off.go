//go:build weft_notap

package engine

// tapped tells whether packets can be traced: not in this build.
const tapped = false
