package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cleanup/orphans"
	"github.com/spillway-k8s/spillway/vnode/cloudnamespace"
)

// garbagePoll is between two looks whether what was ended is gone.
const garbagePoll = time.Second

// garbage is what a cluster has left in the cloud, as "vnode gc" and "vnode uninstall" remove it.
type garbage struct {
	finder *orphans.Finder
	// minAge spares cloud Pods that are younger.
	minAge time.Duration
	// dryRun removes nothing.
	dryRun bool
	// namespace removes the CCI namespace too, if the cluster made it and nobody else uses it.
	namespace bool
	out       io.Writer
}

// collect removes what it finds and returns when it is gone. It fails with ctx, at the first thing that cannot be removed.
func (g *garbage) collect(ctx context.Context) error {
	all, err := g.finder.Find(ctx)
	if cci.IsNotFound(err) {
		fmt.Fprintf(g.out, "The cloud has no namespace %s: nothing is left.\n", g.finder.Namespace)
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for orphans: %w", err)
	}
	var old []orphans.Orphan
	for _, o := range all {
		if o.Age(time.Now()) >= g.minAge {
			old = append(old, o)
		}
	}
	spared := len(all) - len(old)
	g.print(old, spared)
	if err := g.end(ctx, old); err != nil {
		return err
	}
	if err := g.copies(ctx); err != nil || !g.namespace {
		return err
	}
	if spared > 0 {
		fmt.Fprintf(g.out, "Cloud namespace %s stays for the Pods that were spared.\n", g.finder.Namespace)
		return nil
	}
	return g.place(ctx)
}

// end ends orphans, and returns when they are gone.
func (g *garbage) end(ctx context.Context, old []orphans.Orphan) error {
	if g.dryRun || len(old) == 0 {
		return nil
	}
	var faults []error
	for _, o := range old {
		faults = append(faults, g.finder.End(ctx, o))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("ending orphans: %w", err)
	}
	return g.await(ctx, old)
}

// await returns when the orphans are gone.
func (g *garbage) await(ctx context.Context, ended []orphans.Orphan) error {
	left := map[types.UID]string{}
	for _, o := range ended {
		left[o.Cloud.UID] = o.Cloud.Name
	}
	for {
		for uid, name := range left {
			pod, err := g.finder.Cloud.GetPod(ctx, g.finder.Namespace, name)
			if cci.IsNotFound(err) || err == nil && pod.UID != uid {
				delete(left, uid)
			}
		}
		if len(left) == 0 {
			fmt.Fprintln(g.out, "All of them are gone.")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %d cloud Pods are gone: %w; run it again", len(left), ctx.Err())
		case <-time.After(garbagePoll):
		}
	}
}

// copies removes what virtual nodes that are no more had copied, once their Pods are gone.
func (g *garbage) copies(ctx context.Context) error {
	found, err := g.finder.FindCopies(ctx)
	if err != nil {
		return fmt.Errorf("looking for copies of removed nodes: %w", err)
	}
	var faults []error
	for _, c := range found {
		if !g.dryRun {
			faults = append(faults, g.finder.Remove(ctx, c))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("removing copies of removed nodes: %w", err)
	}
	fmt.Fprintf(g.out, "%d copies of ConfigMaps, Secrets and claims of virtual nodes that are no more %s.\n", len(found), g.done("removed"))
	return nil
}

// place removes the CCI namespace, or says why it stays.
func (g *garbage) place(ctx context.Context) error {
	kept, err := cloudnamespace.Remove(ctx, g.finder.Cloud, cloudnamespace.Removal{
		Namespace: g.finder.Namespace, ClusterID: g.finder.ClusterID, DryRun: g.dryRun, Poll: garbagePoll,
	})
	if err != nil {
		return fmt.Errorf("removing the place in the cloud: %w", err)
	}
	if kept != "" {
		fmt.Fprintf(g.out, "Cloud namespace %s stays: %s.\n", g.finder.Namespace, kept)
		return nil
	}
	fmt.Fprintf(g.out, "Cloud namespace %s %s.\n", g.finder.Namespace, g.done("removed"))
	return nil
}

// done is what became of things: in a dry run they were only found.
func (g *garbage) done(what string) string {
	if g.dryRun {
		return "found; nothing is " + what + " in a dry run"
	}
	return what
}

func (g *garbage) print(old []orphans.Orphan, young int) {
	table := tabwriter.NewWriter(g.out, 0, 0, 2, ' ', 0)
	if len(old) > 0 {
		fmt.Fprintln(table, "CLOUD POD\tNODE\tNAMESPACE\tPOD\tPHASE\tAGE")
	}
	for _, o := range old {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", o.Cloud.Name, o.Node, o.Key.Namespace, o.Key.Name, o.Cloud.Status.Phase,
			o.Age(time.Now()).Round(time.Second))
	}
	_ = table.Flush() // Whoever closed the output does not read it.
	fmt.Fprintf(g.out, "%d cloud Pods of cluster %s without a Pod %s; %d younger than %s spared.\n",
		len(old), g.finder.ClusterID, g.done("ended"), young, g.minAge)
}
