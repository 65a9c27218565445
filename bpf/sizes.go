package bpf

// Sizes of the kernel side's tables, as bpf/maps.h and bpf/journey.h have them;
// a test holds them to the object's own types.
const (
	Ways      = 8
	Slots     = Ways * 1024
	Devices   = 16384
	Addresses = 16384
	Targets   = 4096
	Groups    = 64
	Proxies   = 1024
	Stamps    = 48
	Probes    = 16 // of Devices and Addresses
	CPUs      = 1024
)

// AddressHost marks an address of the host itself in the table of addresses
// (VT_ADDRESS_HOST); PortPublished a port that a target in bridge mode publishes
// (VT_PORT_PUBLISHED).
const (
	AddressHost   = 0xffff
	PortPublished = 0x8000
)
