package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// The page of all rights, and the reasons in it. The test generates the first and reads the second.
const (
	rightsPage   = "../../docs/reference/rights.md"
	rightsReason = "testdata/rights.yaml"
)

// right is what a ServiceAccount may do.
type right struct {
	// Verbs and Resource are sorted and joined by commas. A resource of another group than the core is followed by it,
	// and by names if the right is for these only.
	Verbs, Resource string
}

func (r right) String() string { return r.Verbs + " " + r.Resource }

// can returns all rights of a client in a namespace, as kubectl auth can-i --list does.
func can(t *testing.T, client kubernetes.Interface, namespace string) map[right]bool {
	t.Helper()
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}},
		metav1.CreateOptions{})
	require.NoError(t, err)
	require.False(t, review.Status.Incomplete, review.Status.EvaluationError)
	verbs := map[string]map[string]bool{}
	allow := func(resource string, allowed []string) {
		if verbs[resource] == nil {
			verbs[resource] = map[string]bool{}
		}
		for _, verb := range allowed {
			verbs[resource][verb] = true
		}
	}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if group != "" {
					resource += " (" + group + ")"
				}
				if len(rule.ResourceNames) > 0 {
					resource += " " + strings.Join(rule.ResourceNames, ", ")
				}
				allow(resource, rule.Verbs)
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		for _, url := range rule.NonResourceURLs {
			allow(url, rule.Verbs)
		}
	}
	found := map[right]bool{}
	for resource, allowed := range verbs {
		found[right{strings.Join(slices.Sorted(maps.Keys(allowed)), ", "), resource}] = true
	}
	return found
}

// everywhere says in the page that a right holds in every namespace, and for objects without one.
const everywhere = "all"

// rightsOf returns the rights of a ServiceAccount that not every ServiceAccount has, and where it has them.
func rightsOf(t *testing.T, account string) map[right]string {
	t.Helper()
	namespaces := []string{namespace, "kube-system", "kube-node-lease", "default"}
	where := map[right][]string{}
	for _, in := range namespaces {
		common := can(t, as(t, "no-rights", ""), in)
		for r := range can(t, as(t, account, ""), in) {
			if !common[r] {
				where[r] = append(where[r], strings.Replace(in, namespace, "that of Spillway", 1))
			}
		}
	}
	found := map[right]string{}
	for r, in := range where {
		found[r] = strings.Join(in, ", ")
		if len(in) == len(namespaces) {
			found[r] = everywhere
		}
	}
	return found
}

// installUninstaller creates the ServiceAccount and the roles that otherwise exist only during helm uninstall.
func installUninstaller(t *testing.T) {
	t.Helper()
	var documents []string
	for _, object := range objects(t, spillway, simulated("--namespace", namespace)...) {
		kind := object.GetKind()
		if object.GetName() == "spillway-uninstall" &&
			(kind == "ServiceAccount" || strings.HasPrefix(kind, "ClusterRole")) {
			content, err := yaml.Marshal(object.Object)
			require.NoError(t, err)
			documents = append(documents, string(content))
		}
	}
	require.Len(t, documents, 3)
	file := filepath.Join(t.TempDir(), "uninstall.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(documents, "---\n")), 0o600))
	onCluster(t, "kubectl", "apply", "-f", file)
	t.Cleanup(func() { onCluster(t, "kubectl", "delete", "-f", file) })
}

// TestEveryRightHasAReason asks a real API server for the rights of each ServiceAccount. Each must have a reason, and
// each reason a right. With -update the test writes the page of rights.
func TestEveryRightHasAReason(t *testing.T) {
	content, err := os.ReadFile(rightsReason)
	require.NoError(t, err)
	var reasons map[string]map[string]string
	require.NoError(t, yaml.UnmarshalStrict(content, &reasons))

	options := []string{
		"-f", spillway + "/values-ha.yaml", "--set", "vnode.certificate=cluster", "--set-json", virtualNodes(2),
	}
	const asAccount = "spillway-vnode with vnode.identity=serviceAccount"
	found := map[string]map[right]string{}
	t.Run("with a scheduler of its own", func(t *testing.T) {
		install(t, values(options...)...)
		installUninstaller(t)
		for _, account := range []string{"spillway-scheduler", "spillway-admission", "spillway-vnode",
			"spillway-uninstall"} {
			found[account] = rightsOf(t, account)
		}
	})
	t.Run("with an existing scheduler", func(t *testing.T) {
		install(t, values(append(options, "--set", "scheduler.mode=service")...)...)
		found["spillway-extender"] = rightsOf(t, "spillway-extender")
		for _, account := range []string{"spillway-admission", "spillway-vnode"} {
			assert.Equal(t, found[account], rightsOf(t, account), "the rights of %s do not depend on the scheduler",
				account)
		}
	})
	t.Run("without a Node authorizer", func(t *testing.T) {
		install(t, values(append(options, "--set", "vnode.identity=serviceAccount")...)...)
		found[asAccount] = rightsOf(t, "spillway-vnode")
	})
	t.Run("with the simulator", func(t *testing.T) {
		install(t, simulated("--set", "vnode.identity=serviceAccount")...)
		accounts := onCluster(t, "kubectl", "get", "serviceaccounts", "--namespace", namespace, "-o", "name")
		assert.NotContains(t, accounts, "simulator", "the simulator needs no rights")
		for r := range rightsOf(t, "spillway-vnode") {
			assert.NotContains(t, r.Resource, "serviceaccounts/token", "tokens are not copied to the simulator")
		}
	})

	for account, rights := range found {
		for r := range rights {
			assert.NotEmpty(t, reasons[account][r.String()], "%s: %s: add its reason to %s", account, r, rightsReason)
		}
		assert.Len(t, rights, len(reasons[account]), "reasons of %s without a right", account)
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(found)), slices.Collect(maps.Keys(reasons)))
	page := describeRights(found, reasons)
	if *update {
		require.NoError(t, os.WriteFile(rightsPage, []byte(page), 0o644))
	}
	kept, err := os.ReadFile(rightsPage)
	require.NoError(t, err)
	assert.Equal(t, page, string(kept), "run go test ./test/chart -run TestEveryRight -update")
}

// describeRights returns the page of rights.
func describeRights(found map[string]map[right]string, reasons map[string]map[string]string) string {
	var page strings.Builder
	page.WriteString(`# Rights of the ServiceAccounts

<!-- Generated by go test ./test/chart -run TestEveryRight -update. -->

What kubectl auth can-i --list answers for each ServiceAccount of the chart, with the reason for each right. The release
has two replicas of every program (values-ha.yaml), two virtual nodes and vnode.certificate=cluster. Rights that every
ServiceAccount has are left out. [Policies](../security.md#a-compromised-component) restrict what an account may do with
its rights. The simulator has no ServiceAccount.

Namespace "all" also means objects without a namespace.
`)
	for _, account := range slices.Sorted(maps.Keys(found)) {
		fmt.Fprintf(&page, "\n## %s\n\n| may | namespace | reason |\n|---|---|---|\n", account)
		rights := slices.SortedFunc(maps.Keys(found[account]), func(a, b right) int {
			return strings.Compare(a.Resource+" "+a.Verbs, b.Resource+" "+b.Verbs)
		})
		for _, r := range rights {
			fmt.Fprintf(&page, "| %s | %s | %s |\n", r, found[account][r], reasons[account][r.String()])
		}
	}
	return page.String()
}
