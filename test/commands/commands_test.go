package commands

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	plugin "github.com/spillway-k8s/spillway/cli/command"
)

func TestEveryCommandOfTheDocumentation(t *testing.T) {
	pages, err := readPages()
	require.NoError(t, err)
	used := map[string]bool{}
	ran, played := 0, 0
	pages = slices.DeleteFunc(pages, func(p page) bool { return len(p.commands)+len(p.manifests) == 0 })
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			played++
			r := newReader(t, p)
			if p.names("cart") || p.names("POD") {
				r.must(t, "kubectl apply -f cart.yaml && kubectl rollout status --timeout=1m deployment cart")
			}
			applyManifests(t, r, p, used)
			for _, c := range p.commands {
				done, err := try(t.Context(), r, c, used)
				assert.NoError(t, err, c.String())
				if done {
					ran++
				}
			}
		})
	}
	t.Logf("%d commands ran on the trial system", ran)
	if played < len(pages) {
		return // The flag -run chooses pages.
	}
	assert.Greater(t, ran, 60)
	for _, entry := range tableEntries() {
		assert.True(t, used[entry], "%s: no command needs this entry of a table any more: remove it", entry)
	}
}

// names reports whether a command of the page has the word.
func (p page) names(word string) bool {
	expression := regexp.MustCompile(`\b` + word + `\b`)
	return slices.ContainsFunc(p.commands, func(c command) bool { return expression.MatchString(c.text) })
}

// try checks one command, and runs it if it is for a cluster. done is true if it ran.
func try(ctx context.Context, r *reader, c command, used map[string]bool) (done bool, err error) {
	if len(c.calls) == 0 {
		c.calls = [][]string{strings.Fields(c.text)[:1]} // A variable is set.
	}
	for _, entry := range notHere {
		matches := entry.page == c.page && strings.HasPrefix(c.text, entry.command) ||
			entry.page == "" && c.runs(entry.command)
		if matches {
			used[entry.page+": "+entry.command] = true
			return false, nil
		}
	}
	runs := false
	for _, call := range c.calls {
		more, err := check(ctx, r, call)
		if err != nil {
			return false, err
		}
		runs = runs || more
	}
	if !runs {
		return false, nil
	}
	script := c.text
	for _, p := range placeholders {
		if strings.Contains(script, p.name) {
			script, used[p.name] = strings.ReplaceAll(script, p.name, p.value), true
		}
	}
	for _, entry := range before {
		if entry.page == c.page && strings.HasPrefix(c.text, entry.command) {
			used[entry.page+": "+entry.command] = true
			script = entry.run + "\n" + script
		}
	}
	if endless(c) {
		return true, r.interrupt(ctx, script)
	}
	out, err := r.run(ctx, script)
	if strings.HasPrefix(c.text, "kubectl spillway doctor") && strings.Contains(out, "Checked:") {
		return true, nil // A trial system lacks some of the chart, and the doctor says so.
	}
	return true, err
}

// tableEntries returns what the tables have, as it is noted when it is used.
func tableEntries() []string {
	var entries []string
	for _, e := range notHere {
		entries = append(entries, e.page+": "+e.command)
	}
	for _, e := range before {
		entries = append(entries, e.page+": "+e.command)
	}
	for _, p := range placeholders {
		entries = append(entries, p.name)
	}
	for kind := range otherKinds {
		entries = append(entries, kind)
	}
	return entries
}

// check holds a call of a program against the program. runs is true if it should run on the trial system.
func check(ctx context.Context, r *reader, call []string) (runs bool, err error) {
	switch name := call[0]; {
	case name == "make":
		return false, checkMake(call[1:])
	case name == "go":
		return false, checkGo(call[1:])
	case name == "helm":
		return false, checkHelm(ctx, r, call[1:])
	case name == "kubectl" && len(call) > 1 && call[1] == "spillway":
		return true, checkPlugin(call[2:])
	case name == "kubectl":
		return checkKubectl(ctx, r, call[1:])
	case programs[filepath.Base(name)]:
		return false, checkFlags(ctx, filepath.Base(name), call[1:])
	case tools[name]:
		return false, nil
	default:
		return false, fmt.Errorf("%q is in no class of commands: let package test/commands run it or hold it against the "+
			"program, or add it to the table notHere with the reason", name)
	}
}

// checkMake checks that targets exist and that the Makefile uses the variables.
func checkMake(args []string) error {
	content, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return fmt.Errorf("reading the Makefile: %w", err)
	}
	for _, arg := range args {
		variable, _, assigns := strings.Cut(arg, "=")
		switch {
		case assigns && !strings.Contains(string(content), "$("+variable+")"):
			return fmt.Errorf("the Makefile does not use the variable %s", variable)
		case !assigns && !strings.Contains(string(content), "\n"+arg+":"):
			return fmt.Errorf("the Makefile has no target %s", arg)
		}
	}
	return nil
}

// checkGo checks that packages exist, and the flags of their tests.
func checkGo(args []string) error {
	source := ""
	for _, arg := range args {
		if !strings.HasPrefix(arg, "./") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, arg, "*.go"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("there is no package %s: %w", arg, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("reading package %s: %w", arg, err)
			}
			source += string(content)
		}
	}
	of := []string{"v", "count", "timeout", "run", "o"}
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && !slices.Contains(of, name) && !strings.Contains(source, `("`+name+`",`) {
			return fmt.Errorf("the package has no flag -%s", name)
		}
	}
	return nil
}

// checkFlags checks that the help of a program has each flag.
func checkFlags(ctx context.Context, program string, args []string) error {
	var subcommand []string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		subcommand = args[:1]
	}
	help, err := run(ctx, program, append(slices.Clone(subcommand), "--help")...)
	if err != nil {
		return err
	}
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(name, "--") && !regexp.MustCompile(name+`\b`).MatchString(help) {
			return fmt.Errorf("%s %s has no flag %s", program, strings.Join(subcommand, " "), name)
		}
	}
	return nil
}

// checkPlugin parses a command of kubectl spillway as the plugin does.
func checkPlugin(args []string) error {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	found, rest, err := plugin.New(streams).Find(args)
	if err != nil {
		return err
	}
	if !found.Runnable() {
		return fmt.Errorf("kubectl spillway %s is no command", strings.Join(args, " "))
	}
	if err := found.ParseFlags(rest); err != nil {
		return err
	}
	return found.ValidateArgs(found.Flags().Args())
}

// checkKubectl checks the flags of a command that needs a kubelet, and that the chart has what it names. Others run.
func checkKubectl(ctx context.Context, r *reader, args []string) (runs bool, err error) {
	verb, namespace := -1, ""
	for i := 0; i < len(args) && verb < 0; i++ {
		switch {
		case args[i] == "-n" || args[i] == "--namespace":
			i++
			namespace = args[min(i, len(args)-1)]
		case !strings.HasPrefix(args[i], "-"):
			verb = i
		}
	}
	if verb < 0 {
		return false, fmt.Errorf("kubectl %s has no verb", strings.Join(args, " "))
	}
	if !kubeletVerbs[args[verb]] {
		return true, nil
	}
	own, command := args, []string(nil)
	if dashes := slices.Index(args, "--"); dashes >= 0 {
		own, command = args[:dashes], args[dashes+1:]
	}
	if _, err := run(ctx, "kubectl", append(slices.Clone(own), "--help")...); err != nil {
		return false, err
	}
	if len(command) > 0 && programs[filepath.Base(command[0])] {
		if err := checkFlags(ctx, filepath.Base(command[0]), command[1:]); err != nil {
			return false, err
		}
	}
	if namespace == "" || args[verb] == "top" {
		return false, nil
	}
	return false, checkTarget(ctx, r, namespace, own[verb+1:])
}

// checkTarget checks that a Pod, a workload and its container exist, with the arguments of a verb.
func checkTarget(ctx context.Context, r *reader, namespace string, args []string) error {
	target, container := "", ""
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-c" && i+1 < len(args):
			i++
			container = args[i]
		case target == "" && !strings.HasPrefix(arg, "-"):
			target = arg
		}
	}
	if strings.HasPrefix(target, "POD") {
		return nil
	}
	if !strings.Contains(target, "/") {
		target = "pod/" + target
	}
	out, err := r.run(ctx, fmt.Sprintf("kubectl -n %s get %s -o jsonpath='{..containers[*].name}'", namespace, target))
	if err == nil && container != "" && !slices.Contains(strings.Fields(out), container) {
		err = fmt.Errorf("%s has the containers %s and no %s", target, out, container)
	}
	return err
}

// checkHelm checks the flags of a command, and renders the chart with its values.
func checkHelm(ctx context.Context, r *reader, args []string) error {
	_, err := run(ctx, "helm", append(slices.Clone(args), "--help")...)
	if err != nil || !slices.Contains([]string{"install", "upgrade", "template"}, args[0]) {
		return err
	}
	rendered := []string{"template", "--kube-version", version}
	for i, arg := range args[1:] {
		switch {
		case arg == "…": // What was given when it was installed.
			rendered = append(rendered, "spillway", "charts/spillway", "--namespace", "spillway-system")
			if !slices.Contains(args[i+1:], "-f") {
				rendered = append(rendered, "-f", "values.yaml")
			}
		case args[0] == "upgrade" && arg == "--install":
		default:
			rendered = append(rendered, arg)
		}
	}
	command := exec.CommandContext(ctx, filepath.Join(bin, "helm"), rendered...)
	command.Dir = r.dir
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", strings.Join(rendered, " "), err, out)
	}
	return nil
}

// endless reports whether a command ends with Ctrl-C.
func endless(c command) bool {
	return slices.ContainsFunc(c.calls, func(call []string) bool {
		return slices.Contains(call, "dashboard") || slices.Contains(call, "--watch")
	})
}

// interrupt runs a script until it prints something, and ends it with Ctrl-C. It should then succeed.
func (r *reader) interrupt(ctx context.Context, script string) error {
	command := r.shell(ctx, "exec "+script)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("reading the output: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the command: %w", err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("waiting for output: %w: %w", err, command.Wait())
	}
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupting the command: %w", err)
	}
	return command.Wait()
}

// applyManifests applies the objects that a page shows. Those of a namespace that the page does not create are tried.
func applyManifests(t *testing.T, r *reader, p page, used map[string]bool) {
	t.Helper()
	groups, err := restmapper.GetAPIGroupResources(trial.Client().Discovery())
	require.NoError(t, err)
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, b := range p.manifests {
		for document := range strings.SplitSeq(b.text, "\n---\n") {
			var object metav1.PartialObjectMetadata
			require.NoError(t, yaml.Unmarshal([]byte(document), &object), "%s:%d", p.name, b.line)
			if object.Kind == "" {
				continue // A part of another object.
			}
			kind := object.GroupVersionKind()
			if _, err := mapper.RESTMapping(kind.GroupKind(), kind.Version); meta.IsNoMatchError(err) {
				used[object.Kind] = true
				assert.Contains(t, otherKinds, object.Kind, "%s:%d: add the kind to otherKinds with its reason", p.name, b.line)
				continue
			}
			file := filepath.Join(r.dir, "manifest.yaml")
			require.NoError(t, os.WriteFile(file, []byte(document), 0o600))
			if object.Namespace != "" {
				r.must(t, "kubectl create namespace "+object.Namespace+" --dry-run=client -o yaml | kubectl apply -f -")
			}
			_, err := r.run(t.Context(), "kubectl apply -f manifest.yaml")
			assert.NoError(t, err, "%s:%d", p.name, b.line)
		}
	}
}

// A command that is wrong, or in no class, fails.
func TestCommandsThatAreWrong(t *testing.T) {
	r := newReader(t, page{name: "wrong"})
	for text, want := range map[string]string{
		"terraform apply":                                    "is in no class of commands",
		"make nothing":                                       "no target nothing",
		"make prove NOTHING=1":                               "does not use the variable NOTHING",
		"go build ./nothing":                                 "no package ./nothing",
		"go test ./vnode/integration -nothing=1":             "no flag -nothing",
		"kubectl spillway nothing":                           "unknown command",
		"kubectl spillway status --nothing":                  "unknown flag: --nothing",
		"kubectl spillway status more":                       "unknown command \"more\"",
		"kubectl get nothing":                                "have a resource type \"nothing\"",
		"kubectl logs --nothing a":                           "unknown flag: --nothing",
		"kubectl -n spillway-system logs deployment/nothing": "\"nothing\" not found",
		"kubectl -n spillway-system logs deployment/spillway-admission -c nothing": "no nothing",
		"kubectl exec a -- /vnode gc --nothing":                                    "vnode gc has no flag --nothing",
		"vnode doctor --nothing":                                                   "vnode doctor has no flag --nothing",
		"helm install a charts/spillway --nothing":                                 "unknown flag: --nothing",
		"helm install a charts/spillway --set nothing=1,simulator.enabled=true":    "nothing",
	} {
		p, err := parsePage("page.md", "```sh\n"+text+"\n```\n")
		require.NoError(t, err)
		require.Len(t, p.commands, 1)
		_, err = try(t.Context(), r, p.commands[0], map[string]bool{})
		assert.ErrorContains(t, err, want, text)
	}
	_, err := parsePage("page.md", "```sh\nkubectl get 'pods\n```\n")
	assert.ErrorContains(t, err, "page.md:2: a command that bash cannot read")
	_, err = parsePage("page.md", "```\n$ kubectl get pods\n```\n")
	assert.ErrorContains(t, err, "must be marked")
}

// kubectl finds the completions of a plugin in the PATH (docs/cli.md). They know what is in the cluster.
func TestKubectlCompletesThePlugin(t *testing.T) {
	r := newReader(t, page{name: "completions"})
	r.must(t, "kubectl apply -f cart.yaml")
	plugin, err := filepath.Abs(root + "/cli/krew")
	require.NoError(t, err)
	r.env = append(r.env, "PATH="+bin+":"+plugin+":"+os.Getenv("PATH"))
	for command, want := range map[string]string{
		"kubectl __complete spillway st":                       "status\tLocal, cloud and waiting Pods",
		"kubectl __complete spillway why depl":                 "deployment",
		"kubectl __complete spillway why deployment ''":        "cart",
		"kubectl __complete spillway status --namespace compl": r.namespace,
	} {
		out, err := r.run(t.Context(), command+" 2>/dev/null")
		require.NoError(t, err, command)
		assert.Contains(t, out, want, command)
	}
}
