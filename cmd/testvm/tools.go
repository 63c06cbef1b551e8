package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A tool is a program and the Debian package that has it.
type tool struct {
	program, pack string
}

// hostTools are what this program calls.
var hostTools = []tool{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"apt-get", "apt"},
	{"dpkg-deb", "dpkg"},
	{"ldd", "libc-bin"},
	{"busybox", "busybox-static"},
}

// guestTools are what tests call. A test that lacks one is skipped.
var guestTools = append([]tool{
	{"ip", "iproute2"},
	{"tc", "iproute2"},
	{"bridge", "iproute2"},
	{"ping", "iputils-ping"},
	{"nft", "nftables"},
	{"wg", "wireguard-tools"},
	{"tcpdump", "tcpdump"},
}, iptablesNames()...)

// iptablesNames are all the names of iptables: of both families, of both kinds
// and of whichever is the system's choice.
func iptablesNames() (list []tool) {
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, kind := range []string{"", "-nft", "-legacy"} {
			for _, task := range []string{"", "-save", "-restore"} {
				list = append(list, tool{family + kind + task, "iptables"})
			}
		}
	}
	return list
}

// ensureTools installs what is missing if it may, and fails only for tools
// that the host needs.
func ensureTools(ctx context.Context) error {
	lacking := missing(slices.Concat(hostTools, guestTools))
	if len(lacking) > 0 && os.Getuid() == 0 && len(missing([]tool{{program: "apt-get"}})) == 0 {
		fmt.Println("installing", strings.Join(lacking, " "))
		if err := install(ctx, lacking); err != nil {
			fmt.Println(err)
		}
		lacking = missing(slices.Concat(hostTools, guestTools))
	}
	if need := missing(hostTools); len(need) > 0 {
		return fmt.Errorf("not installed: %s", strings.Join(need, " "))
	}
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("keys of Debian, in the package debian-archive-keyring: %w", err)
	}
	if len(lacking) > 0 {
		fmt.Printf("not installed: %s; tests that need them will be skipped\n", strings.Join(lacking, " "))
	}
	return nil
}

// missing returns the packages of the tools that are not on this machine.
func missing(tools []tool) (packages []string) {
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil && !slices.Contains(packages, t.pack) {
			packages = append(packages, t.pack)
		}
	}
	return packages
}

func install(ctx context.Context, packages []string) error {
	args := append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...)
	for _, a := range [][]string{{"update", "-qq"}, args} {
		cmd := exec.CommandContext(ctx, "apt-get", a...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if _, err := output(cmd); err != nil {
			return err
		}
	}
	return nil
}
