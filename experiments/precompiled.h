// As injector/base/precompiled.h, for what knows of playbooks.
#pragma once
#include "injector/base/precompiled.h"

#include "experiments/evidence.h"
#include "experiments/playbook.h"
#include "injector/fault.h"
#include "injector/op_type.h"
#include "probes/probe.h"
