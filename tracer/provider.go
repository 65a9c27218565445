package tracer

// Up to so many targets, borders of devices are taken by tcx: bystanders do not
// pay for it. Attaching it locks the kernel's network configuration for 8 ms per
// device and direction, so above that tracepoints of the whole machine take them.
const mostTCX = 64

// devicesBy tells who takes the borders of devices to begin with, and whether
// that may change when targets are added.
func devicesBy(cfg Config, targets int) (by Provider, switchable bool) {
	switch {
	case cfg.Devices != "":
		return cfg.Devices, false
	case targets > mostTCX:
		return ProviderTracepoint, false
	}
	return ProviderTCX, cfg.Capacity > mostTCX
}
