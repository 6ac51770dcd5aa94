// Command facet indexes galleries of images by several similarities at once, and searches what it
// published.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/verify"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/gate"
)

// The exit codes are part of the interface: schedulers branch on them.
const (
	exitOK          = 0 // published, or nothing to do
	exitError       = 1
	exitUsage       = 2 // usage or configuration
	exitRejects     = 3 // more rejects than limits.reject
	exitRefused     = 4 // the gate refused the snapshot
	exitDifferences = 5 // verify found differences
	exitInterrupted = 130
)

func main() {
	faiss.MaybeChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(exitCode(ctx, root().ExecuteContext(ctx)))
}

// errUsage marks what cobra objects to, so that it exits like a wrong job file.
var errUsage = errors.New("usage")

func root() *cobra.Command {
	c := group("facet", "Index galleries of images by several similarities at once")
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w; see `%s --help`", errUsage, err, c.CommandPath())
	})
	c.AddCommand(indexCommand(), searchCommand(), verifyCommand(), snapshotsCommand(), diffCommand(), publishCommand(), rollbackCommand())
	c.AddCommand(modelCommand(), trainCommand(), evaluateCommand(), compareCommand(), pictureCommand(), gcCommand())
	return c
}

// group is a command that only holds others: alone it prints its help.
func group(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
}

// exitCode is the one place that turns errors into exit codes and says what went wrong.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "facet: interrupted; nothing was published")
		return exitInterrupted
	}
	fmt.Fprintln(os.Stderr, "facet:", err)
	switch {
	case errors.Is(err, jobfile.ErrConfig), errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, sinks.ErrRejects):
		return exitRejects
	case errors.Is(err, gate.ErrRefused):
		return exitRefused
	case errors.Is(err, verify.ErrDifferences):
		return exitDifferences
	}
	return exitError
}

// noArgs refuses arguments as a usage error.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unexpected argument %q; see `%s --help`", errUsage, args[0], c.CommandPath())
	}
	return nil
}
