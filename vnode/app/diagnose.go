package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/doctor"
)

// ReasonCloudFinding: at the first start of a virtual node, a check of "vnode doctor" has found something. The
// message begins with the code of the finding.
const ReasonCloudFinding = "CloudFinding"

// diagnose runs the checks of "vnode doctor" that only read, and shows what they find as Events of the Node, which may
// not exist yet. It is called once, at the first start. The findings are no conditions, because nothing would end them:
// what lasts, the conditions show. Errors of the checks themselves are no problem of the Node.
func (a *App) diagnose(ctx context.Context) {
	if a.config.Policy.CCIVersion == policy.CCI1 {
		return // The checks are about CCI 2.0.
	}
	d, err := doctor.New(a.config, doctor.Options{Guard: a.guard, Logger: a.logger})
	if err != nil {
		a.logger.Warn("cannot check the cloud account", "err", err)
		return
	}
	report, err := d.Run(ctx)
	if err != nil {
		return // The program ends.
	}
	name := a.config.Node.Name
	node := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}
	for i := range report.Findings {
		f := &report.Findings[i]
		if f.Severity == diagnosis.Info {
			continue
		}
		a.logger.Warn("a check of the cloud account has found something", "code", f.Code,
			"severity", f.Severity, "title", f.Title, "message", f.Message, "remedy", f.Mend)
		a.recorder.Event(node, corev1.EventTypeWarning, ReasonCloudFinding,
			string(f.Code)+" "+f.Title+": "+f.Message+". "+f.Mend)
	}
}
