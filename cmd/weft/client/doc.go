// Package client asks a running node about itself, over its control socket. It
// is what `weft status`, `trace`, `drops`, `explain`, `ping` and `doctor` have in
// common: finding the socket, the questions of package control, and errors that
// tell what to do.
//
// # Theory of operation
//
// A node listens at NAME.sock in the first of these directories that it can use;
// a client looks for sockets that answer in all of them:
//
//	/run/weft                  root's, and the system service's
//	$XDG_RUNTIME_DIR/weft      a user's
//	$TMPDIR/weft-UID           where there is neither
//
// Which node is meant is told by --socket, else by $WEFT_SOCKET, each with a
// path or a NAME, else it is the one there is. With several the user has to say.
//
// A command of this kind looks like this:
//
//	socket := client.Flag(cmd)
//	cmd.RunE = client.Doing(func(cmd *cobra.Command, args []string) error {
//		c, err := client.New(*socket)
//		…
//	})
//
// Doing gives errors of the body the exit code 1; one that wants another is made
// with [Exit].
package client
