// Command testvm runs weft's tests on the kernels of Debian releases, each in a
// virtual machine.
//
// # Theory of operation
//
// What a kernel offers weft, and what it does with what weft sends, changes
// from version to version. The tests that assume something of it, and those
// from end to end, therefore run on old kernels as well. No virtualisation is
// needed: the machine may be emulated.
//
//	host                                             guest
//	  apt ─────► kernel, modules ──────────┐
//	  go build ─► weft, init (this program)├─► image ─► init ─► guest ─► steps
//	  go test -c ─► static test binaries ──┤ (cpio)      │        │       weft lab …
//	  ldd ─────► ip, nft, iptables, … ─────┘             │        │       tunnel tests
//	                                            console  │        │       e2e tests …
//	  last words of a kernel ◄────────────────── ttyS0 ◄─┘        │
//	  report, table, exit status ◄─── events ─── ttyS1 ◄──────────┘
//
// The program has four roles. On the host it makes the image, boots it and
// reads events, which are lines of JSON (plan.go). As the guest's first process
// it mounts what programs expect, buries orphans and switches the machine off.
// As its child it loads modules, runs the steps of the plan, which travels in
// the image, and reports each line they print. And as modprobe it loads what
// the kernel asks for by name or alias, as it would on an installed system:
// which modules are loaded before anybody needs them changes what weft meets.
//
// Kernels come from Debian by apt, in a folder of its own below the user's
// cache, and are used until -update asks for newer ones. A kernel package has
// no modules.dep; modules.go reads the same from the modules themselves.
//
// # Exit codes
//
//	0  every test passed, or was skipped, on every kernel
//	1  a test failed, a kernel did not boot, a time was up, or something is missing
//	2  the command line is wrong
package main
