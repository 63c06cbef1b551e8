package client

import (
	"errors"

	"github.com/spf13/cobra"
)

// An exitError asks the program to end with a certain exit code. Package main
// knows such errors by the method ExitCode.
type exitError struct {
	code int
	err  error // nil: all has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// ExitCode returns the exit code that is asked for.
func (e *exitError) ExitCode() int { return e.code }

// Exit returns an error that ends the program with an exit code. Its text is
// err's; nil: nothing is to be said any more.
func Exit(code int, err error) error { return &exitError{code, err} }

// Doing marks the errors of a command's body as failures, with exit code 1,
// unless they ask for a code of their own. Errors that are not marked are
// mistakes in the command line.
func Doing(body func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := body(cmd, args)
		var coded interface{ ExitCode() int }
		if err == nil || errors.As(err, &coded) {
			return err
		}
		return Exit(1, err)
	}
}
