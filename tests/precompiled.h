// What every test includes, compiled once.
#pragma once
#include <catch2/catch.hpp>

#include "experiments/precompiled.h"
