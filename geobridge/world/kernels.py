"""Loops over cells and pixels, compiled by numba.

Frame: `x` metres east and `y` metres north of the town's centre, `z` metres above the ground.
Rasters have row 0 in the north; the cell (row, col) covers `CELL_M` x `CELL_M`, and the raster
is square and centred. A raster is two layers: solid things, of which only the top is known
(`height`, centimetres), and crowns of trees that float above (`crown_top`, `crown_base`,
decimetres).
"""
# numba compiles by the types it meets, and annotations would only repeat them; its `floor` is a
# float, and its comparisons want no tuples.
# ruff: noqa: ANN001, ANN201, ANN202, RUF046, SIM109
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import math

import numpy as np
from numba import njit

CELL_M = 0.5

# What a cell is made of.
GRASS, ROUGH, FIELD, ASPHALT, PAVING, SOIL, WATER, SAND = range(8)
GRAVEL, CONCRETE, PAINT, TURF, POOL, ROOF_FLAT, ROOF_TILE, ROOF_METAL = range(8, 16)
SOLAR, CAR, HEDGE, POST, RAIL, COURT, WALL, PARAPET = range(16, 24)

# What a cell is taken by, while a town is laid out.
FREE, ROAD, BUILDING, WET, RESERVED, YARD = range(6)

# Shapes of roofs.
FLAT, GABLE, CROSS, HIP, MONO, DOME, SPIRE = range(7)

# Kinds of crowns. A plate is no tree: a sign or the jib of a crane, solid and of one of the
# colours below, but like a crown it floats above the ground.
BROADLEAF, CONIFER, PALM, CYPRESS, PINE, SHRUB, ORCHARD, PLATE = range(8)
PLATE_COLOURS = np.array(
    [(176, 44, 40), (44, 84, 160), (226, 226, 222), (222, 178, 44), (60, 128, 76), (232, 120, 40)],
    np.float64,
)

# Heights of shadows from here on are none: they tell how dark the shadow of a cloud is.
CLOUD = 60000

# Columns of the table of owners (one row a building or a lot).
(O_X, O_Y, O_UX, O_UY, O_HW, O_HL, O_R, O_G, O_B, O_BAY, O_FLOOR, O_STYLE) = range(12)
(O_EAVE, O_SEED, O_TR, O_TG, O_TB, O_SR, O_SG, O_SB, O_WINW, O_WINH, O_TOP) = range(12, 23)
O_SHAPE = 23
OWNER_COLUMNS = 24

# Columns of the table of a day's light.
(L_SX, L_SY, L_SZ, L_SUN, L_AMB, L_HAZE, L_GREEN, L_AUTUMN, L_BARE, L_WARM) = range(10)
(L_SEED, L_HILLS, L_CLOUDS, L_RR, L_RG, L_RB) = range(10, 16)
LIGHT_COLUMNS = 16

_FACADE_WINDOWS, _FACADE_RIBBON, _FACADE_SHOP, _FACADE_BLANK, _FACADE_BANDED = range(5)

# Half length and half width of a car, and how high its body and its cabin are.
CAR_HL, CAR_HW, CAR_BODY_M, CAR_CABIN_M = 2.2, 0.9, 0.95, 1.5


@njit(cache=True, error_model="numpy", inline="always")
def _noise(table, x, y, scale):
    """A value in about [-1, 1] from a tileable table of 512 x 512."""
    return table[int(math.floor(y * scale)) & 511, int(math.floor(x * scale)) & 511]


@njit(cache=True, error_model="numpy", forceinline=True)
def _hash01(a, b, c):
    """A number in [0, 1) that three integers determine."""
    h = np.uint32(a & 0xFFFFFFFF) * np.uint32(374761393)
    h = np.uint32(h + np.uint32(b & 0xFFFFFFFF) * np.uint32(668265263))
    h = np.uint32(h + np.uint32(c & 0xFFFFFFFF) * np.uint32(2246822519))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return (h & np.uint32(0xFFFFFF)) / 16777216.0


@njit(cache=True, error_model="numpy")
def rect_is_free(flags, x, y, ux, uy, hw, hl, yards):
    """Whether no cell of an oriented rectangle is taken (yards count as free where `yards`)."""
    n = flags.shape[0]
    half = n * CELL_M / 2
    steps_w = max(2, int(2 * hw / 0.7) + 1)
    steps_l = max(2, int(2 * hl / 0.7) + 1)
    for i in range(steps_w):
        a = -hw + 2 * hw * i / (steps_w - 1)
        for j in range(steps_l):
            b = -hl + 2 * hl * j / (steps_l - 1)
            col = int((x + a * ux - b * uy + half) / CELL_M)
            row = int((half - y - a * uy - b * ux) / CELL_M)
            if row < 0 or col < 0 or row >= n or col >= n:
                return False
            taken = flags[row, col]
            if taken != FREE and not (yards and taken == YARD):
                return False
    return True


@njit(cache=True, error_model="numpy")
def _roof_rise(shape, a, b, hw, hl):
    """Share (0..1) of a roof's rise at local (a, b)."""
    if shape == GABLE:
        return 1 - abs(b) / hl
    if shape == CROSS:
        return 1 - abs(a) / hw
    if shape == HIP:
        return min(1.0, min((hw - abs(a)), (hl - abs(b))) / min(hw, hl))
    if shape == MONO:
        return 0.5 + 0.5 * b / hl
    if shape == DOME:
        return math.sqrt(max(0.0, 1 - (a / hw) ** 2 - (b / hl) ** 2))
    if shape == SPIRE:
        return max(0.0, 1 - max(abs(a) / hw, abs(b) / hl))
    return 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _mix(colour, row, col, r, g, b, share):
    """Mix a colour into a cell."""
    colour[row, col, 0] = int(colour[row, col, 0] + (r - colour[row, col, 0]) * share)
    colour[row, col, 1] = int(colour[row, col, 1] + (g - colour[row, col, 1]) * share)
    colour[row, col, 2] = int(colour[row, col, 2] + (b - colour[row, col, 2]) * share)


@njit(cache=True, error_model="numpy")
def paint_rect(
    height, material, colour, owner, flags,
    x, y, ux, uy, hw, hl, mat, r, g, b, top, shape, rise, own, flag, only_free,
):  # fmt: skip
    """Fill an oriented rectangle.

    `mat` -1 keeps the material, `top` < 0 keeps the height, `own` < 0 the owner, `flag` < 0 the
    flag. `only_free` paints free cells (and other yards) only. A flat roof gets a parapet.
    """
    n = height.shape[0]
    half = n * CELL_M / 2
    reach_x = abs(ux) * hw + abs(uy) * hl
    reach_y = abs(uy) * hw + abs(ux) * hl
    col0 = max(0, int((x - reach_x + half) / CELL_M))
    col1 = min(n - 1, int((x + reach_x + half) / CELL_M))
    row0 = max(0, int((half - y - reach_y) / CELL_M))
    row1 = min(n - 1, int((half - y + reach_y) / CELL_M))
    for row in range(row0, row1 + 1):
        dy = half - (row + 0.5) * CELL_M - y
        for col in range(col0, col1 + 1):
            dx = (col + 0.5) * CELL_M - half - x
            a = dx * ux + dy * uy
            c = -dx * uy + dy * ux
            inside = min(hw - abs(a), hl - abs(c))
            if inside <= -CELL_M / 2:
                continue
            if only_free and flags[row, col] != FREE and flags[row, col] != YARD:
                continue
            if inside < 0:
                # Half a cell beyond the rim only the colour bleeds, so that edges stay straight.
                if mat >= 0 and top < 0:
                    _mix(colour, row, col, r, g, b, 0.5 + inside / CELL_M)
                continue
            if shape == DOME and (a / hw) ** 2 + (c / hl) ** 2 > 1:
                continue
            if mat >= 0:
                material[row, col] = mat
                cover = 1.0 if top >= 0 else min(1.0, 0.5 + inside / CELL_M)
                _mix(colour, row, col, r, g, b, cover)
            if top >= 0:
                z = top + rise * _roof_rise(shape, a, c, hw, hl)
                if mat == ROOF_FLAT and (hw - abs(a) < 0.6 or hl - abs(c) < 0.6):
                    z = top + 0.6
                    material[row, col] = PARAPET
                    colour[row, col, 0] = min(255, r + 18)
                    colour[row, col, 1] = min(255, g + 17)
                    colour[row, col, 2] = min(255, b + 15)
                height[row, col] = int(z * 100)
            if own >= 0:
                owner[row, col] = own
            if flag >= 0:
                flags[row, col] = flag


@njit(cache=True, error_model="numpy")
def paint_blob(
    material, colour, flags, x, y, rx, ry, wobble, phase, mat, r, g, b, flag
):  # fmt: skip
    """Fill an ellipse with a wavy rim; `wobble` is the share of the radius it waves by."""
    n = material.shape[0]
    half = n * CELL_M / 2
    reach = 1 + abs(wobble) * 2
    col0 = max(0, int((x - rx * reach + half) / CELL_M))
    col1 = min(n - 1, int((x + rx * reach + half) / CELL_M))
    row0 = max(0, int((half - y - ry * reach) / CELL_M))
    row1 = min(n - 1, int((half - y + ry * reach) / CELL_M))
    for row in range(row0, row1 + 1):
        dy = (half - (row + 0.5) * CELL_M - y) / ry
        for col in range(col0, col1 + 1):
            dx = ((col + 0.5) * CELL_M - half - x) / rx
            angle = math.atan2(dy, dx)
            rim = 1 + wobble * (math.sin(2 * angle + phase) + 0.6 * math.sin(5 * angle + 2 * phase))
            if dx * dx + dy * dy <= rim * rim:
                material[row, col] = mat
                colour[row, col, 0] = r
                colour[row, col, 1] = g
                colour[row, col, 2] = b
                flags[row, col] = flag


@njit(cache=True, error_model="numpy")
def paint_line(
    height, material, colour, flags, points, half_width, mat, r, g, b, strength, top, flag,
    offset, dash_on, dash_off, skip_start, skip_end, only_free,
):  # fmt: skip
    """Fill the band of `half_width` around a polyline (N, 2), shifted by `offset` to its right.

    A `strength` below 1 mixes the colour with what is there, so that paint thinner than a cell
    keeps its brightness right. Dashes repeat every `dash_on + dash_off` metres (0: solid);
    nothing is drawn within `skip_start` and `skip_end` metres of the ends.
    """
    n = material.shape[0]
    half = n * CELL_M / 2
    total = 0.0
    for i in range(points.shape[0] - 1):
        total += math.hypot(points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1])
    station = 0.0
    for i in range(points.shape[0] - 1):
        x0, y0 = points[i, 0], points[i, 1]
        vx, vy = points[i + 1, 0] - x0, points[i + 1, 1] - y0
        length = math.hypot(vx, vy)
        if length < 1e-6:
            continue
        vx /= length
        vy /= length
        reach = half_width + abs(offset) + CELL_M
        col0 = max(0, int((min(x0, points[i + 1, 0]) - reach + half) / CELL_M))
        col1 = min(n - 1, int((max(x0, points[i + 1, 0]) + reach + half) / CELL_M))
        row0 = max(0, int((half - max(y0, points[i + 1, 1]) - reach) / CELL_M))
        row1 = min(n - 1, int((half - min(y0, points[i + 1, 1]) + reach) / CELL_M))
        for row in range(row0, row1 + 1):
            dy = half - (row + 0.5) * CELL_M - y0
            for col in range(col0, col1 + 1):
                dx = (col + 0.5) * CELL_M - half - x0
                along = dx * vx + dy * vy
                side = dx * vy - dy * vx - offset
                away = abs(side)
                if along < 0 or along > length:
                    # Round joints, but only for plain bands: dashes would smear there.
                    if dash_on > 0 or offset != 0:
                        continue
                    end = 0.0 if along < 0 else length
                    away = math.hypot(along - end, side)
                cover = min(1.0, 0.5 + (half_width - away) / CELL_M)
                if cover <= 0:
                    continue
                s = station + along
                if s < skip_start or s > total - skip_end:
                    continue
                if dash_on > 0 and s % (dash_on + dash_off) > dash_on:
                    continue
                if only_free and flags[row, col] != FREE and flags[row, col] != YARD:
                    continue
                _mix(colour, row, col, r, g, b, strength * cover)
                if cover < 0.5:
                    continue
                if mat >= 0:
                    material[row, col] = mat
                if top >= 0:
                    height[row, col] = int(top * 100)
                if flag >= 0:
                    flags[row, col] = flag
        station += length


@njit(cache=True, error_model="numpy")
def paint_trees(
    crown_top, crown_base, crown_kind, height, material, colour, trees, table
):  # fmt: skip
    """Draw crowns and trunks; a row of `trees` is x, y, radius, height, kind, tint 0..1."""
    n = crown_top.shape[0]
    half = n * CELL_M / 2
    for i in range(trees.shape[0]):
        x, y, radius, tall = trees[i, 0], trees[i, 1], trees[i, 2], trees[i, 3]
        kind = int(trees[i, 4])
        tint = int(trees[i, 5] * 31)
        base = tall * 0.3
        if kind == CONIFER or kind == CYPRESS:
            base = 0.6
        elif kind == PALM:
            base = tall - 1.6
        elif kind == PINE:
            base = tall * 0.55
        elif kind == SHRUB:
            base = 0.0
        col0 = max(0, int((x - radius + half) / CELL_M))
        col1 = min(n - 1, int((x + radius + half) / CELL_M))
        row0 = max(0, int((half - y - radius) / CELL_M))
        row1 = min(n - 1, int((half - y + radius) / CELL_M))
        for row in range(row0, row1 + 1):
            dy = half - (row + 0.5) * CELL_M - y
            for col in range(col0, col1 + 1):
                dx = (col + 0.5) * CELL_M - half - x
                bump = 1 + 0.28 * _noise(table, x + dx * 1.7, y + dy * 1.7, 3.0)
                d = math.hypot(dx, dy) / (radius * bump)
                if kind == PALM:
                    # Fronds: eight arms.
                    d *= 1 + 0.5 * (1 - abs(math.cos(4 * math.atan2(dy, dx))))
                if d > 1:
                    continue
                if kind == CONIFER or kind == CYPRESS:
                    profile = 1 - d
                    low = base
                else:
                    profile = math.sqrt(1 - d * d)
                    low = base + (1 - profile) * 0.3 * (tall - base)
                top = low + (tall - low) * profile if kind != PALM else base + 1.6 * (1 - d * d)
                top = min(25.0, max(top, low + 0.4))
                if top * 10 > crown_top[row, col]:
                    if crown_top[row, col] == 0:
                        crown_base[row, col] = int(low * 10)
                    else:
                        crown_base[row, col] = min(crown_base[row, col], int(low * 10))
                    crown_top[row, col] = int(top * 10)
                    crown_kind[row, col] = kind * 32 + tint
        col = int((x + half) / CELL_M)
        row = int((half - y) / CELL_M)
        if base > 0.8 and 0 <= row < n and 0 <= col < n and height[row, col] == 0:
            height[row, col] = int((base + 0.5) * 100)
            material[row, col] = POST
            colour[row, col, 0], colour[row, col, 1], colour[row, col, 2] = 88, 74, 60


@njit(cache=True, error_model="numpy")
def block_maximum(height, crown_top, size):
    """Largest top (metres, float32) in every block of `size` x `size` cells, crowns included."""
    n = height.shape[0]
    m = (n + size - 1) // size
    out = np.zeros((m, m), np.float32)
    for row in range(n):
        for col in range(n):
            z = max(height[row, col] * 0.01, crown_top[row, col] * 0.1)
            if z > out[row // size, col // size]:
                out[row // size, col // size] = z
    return out


@njit(cache=True, error_model="numpy")
def shadow_heights(height, crown_top, crown_kind, sx, sy, sz, bare):
    """Height (uint16, centimetres) below which every cell lies in shadow.

    The sun stands in the direction (`sx`, `sy`, `sz`). Each discrete line that leads away from
    the sun is walked once with the running height of the shadow, which falls with the slope of
    the light; the lines tile the raster, so every cell is visited exactly once.
    """
    n = height.shape[0]
    shadow = np.zeros((n, n), np.uint16)
    horizontal = math.hypot(sx, sy)
    by_column = abs(sx) >= abs(sy)
    # Away from the sun: one cell along the dominant axis, `ratio` cells across it.
    if by_column:
        step, ratio = (-1 if sx > 0 else 1), sy / max(1e-9, abs(sx))
    else:
        step, ratio = (1 if sy > 0 else -1), -sx / max(1e-9, abs(sy))
    drop = CELL_M * math.sqrt(1 + ratio * ratio) * sz / max(1e-9, horizontal) * 100
    for line in range(-n, 2 * n):
        running = 0.0
        for k in range(n):
            cross = line + int(math.floor(k * ratio + 0.5))
            if cross < 0 or cross >= n:
                running = 0.0
                continue
            along = k if step > 0 else n - 1 - k
            row = cross if by_column else along
            col = along if by_column else cross
            running -= drop
            if running > 0:
                shadow[row, col] = int(min(CLOUD - 1.0, running))
            top = float(height[row, col])
            crown = crown_top[row, col] * 10.0
            kind = crown_kind[row, col] // 32
            # What floats thinly would throw a curtain, not the line that it is.
            if crown > 0 and kind != PLATE:
                if kind == BROADLEAF or kind == ORCHARD:
                    crown *= 1 - 0.5 * bare
                top = max(top, crown)
            if top > running:
                running = top
    return shadow


@njit(cache=True, error_model="numpy")
def cast_clouds(shadow, height, crown_top, shade, block):
    """Lay the shadows of clouds over the ground, in place.

    `shade` (m, m) in [0, 1] tells at every `block`-th cell how much of the sun is hidden; between
    them it runs evenly. What stands under a cloud is in its shadow, however high it is.
    """
    n = shadow.shape[0]
    for row in range(n):
        i = row // block
        v = (row - i * block) / block
        for col in range(n):
            j = col // block
            u = (col - j * block) / block
            upper = shade[i, j] * (1 - u) + shade[i, j + 1] * u
            lower = shade[i + 1, j] * (1 - u) + shade[i + 1, j + 1] * u
            dark = upper * (1 - v) + lower * v
            if dark > 0:
                # A cell that something else keeps from the sun stays dark in the rim.
                own = max(height[row, col], crown_top[row, col] * 10)
                darkest = dark if shadow[row, col] <= own else 1.0
                shadow[row, col] = CLOUD + int((65535 - CLOUD) * darkest)


@njit(cache=True, error_model="numpy", forceinline=True)
def _lit(r, g, b, nx, ny, nz, shade, light):
    """Colour of a surface with a unit normal under the day's light; shade 1 is full shadow."""
    sun = light[L_SUN] * max(0.0, nx * light[L_SX] + ny * light[L_SY] + nz * light[L_SZ])
    sun *= 1 - shade
    sky = light[L_AMB] * (0.72 + 0.28 * nz)
    warm = light[L_WARM]
    return (
        r * (sun * (1.05 + 0.05 * warm) + sky * 0.93),
        g * (sun * (1.0 + 0.01 * warm) + sky * 0.98),
        b * (sun * (0.9 - 0.08 * warm) + sky * 1.08),
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _shade_at(shadow, row, col, z):
    if shadow[row, col] >= CLOUD:
        return (shadow[row, col] - CLOUD) / (65535.0 - CLOUD)
    depth = (shadow[row, col] * 0.01 - z - 0.15) / 0.7
    return min(1.0, max(0.0, depth))


@njit(cache=True, error_model="numpy", forceinline=True)
def _sky(dx, dy, dz, light, table):
    """Colour of the sky in a direction (unit vector, dz >= 0)."""
    clear = min(1.0, light[L_SUN] / 0.5)
    t = math.sqrt(max(0.0, dz))
    r = 214 - 108 * t
    g = 222 - 76 * t
    b = 230 - 22 * t
    grey = 210 - 22 * t
    r = grey + (r - grey) * clear
    g = grey + 2 + (g - grey - 2) * clear
    b = grey + 8 + (b - grey - 8) * clear
    lift = 90.0 / (dz + 0.14)
    cloud = _noise(table, dx * lift + light[L_SEED], dy * lift, 0.55)
    cloud += 0.5 * _noise(table, dx * lift, dy * lift + light[L_SEED], 1.7)
    cover = min(1.0, max(0.0, (cloud * 0.8 + light[L_CLOUDS] - 0.55) * 1.7))
    cover *= min(1.0, dz * 8)
    white = 236 - 30 * (1 - clear)
    r += (white - r) * cover
    g += (white - g) * cover
    b += (white + 3 - b) * cover
    glow = dx * light[L_SX] + dy * light[L_SY] + dz * light[L_SZ]
    if glow > 0.8:
        add = (glow - 0.8) * (glow - 0.8) * 900 * light[L_SUN]
        r += add
        g += add
        b += add * 0.85
    return r, g, b


@njit(cache=True, error_model="numpy", forceinline=True)
def _leaf(kind_tint, x, y, z, top, base, light, table):
    """Colour of a crown at a point, before light; darker inside and below."""
    kind = kind_tint // 32
    if kind == PLATE:
        plate = PLATE_COLOURS[kind_tint % 32]
        return plate[0], plate[1], plate[2]
    tint = (kind_tint % 32) / 31.0
    if kind == CONIFER:
        r, g, b = 50.0 + 14 * tint, 71.0 + 12 * tint, 48.0 + 8 * tint
    elif kind == CYPRESS:
        r, g, b = 50.0, 70.0, 44.0
    elif kind == PINE:
        r, g, b = 76.0 + 14 * tint, 94.0 + 10 * tint, 58.0
    elif kind == PALM:
        r, g, b = 96.0, 112.0, 64.0
    elif kind == SHRUB:
        r, g, b = 82.0 + 30 * tint, 98.0 + 14 * tint, 58.0
    elif kind == ORCHARD:
        r, g, b = 104.0, 118.0, 82.0
    else:
        r, g, b = 62.0 + 36 * tint, 88.0 + 22 * tint, 46.0 + 12 * tint
        turned = light[L_AUTUMN] * (0.3 + 0.7 * tint)
        r += (168 - 30 * tint - r) * turned
        g += (112 - g) * turned * 0.9
        b += (52 - b) * turned
        r += (118 - r) * light[L_BARE] * 0.85
        g += (106 - g) * light[L_BARE] * 0.85
        b += (92 - b) * light[L_BARE] * 0.85
    depth = (z - base) / max(0.5, top - base)
    speckle = 1 + 0.3 * _noise(table, x * 1.3 + z, y * 1.3 - z, 5.0)
    tone = speckle * (0.62 + 0.42 * min(1.0, max(0.0, depth)))
    return r * tone, g * tone, b * tone


@njit(cache=True, error_model="numpy", forceinline=True)
def _ground_colour(mat, r, g, b, x, y, own, owners, light, fine, coarse):
    """Albedo of a top surface: the cell's colour, its season and its texture."""
    f = _noise(fine, x, y, 4.0)
    c = _noise(coarse, x, y, 1.1)
    if mat == GRASS or mat == ROUGH or mat == TURF or mat == HEDGE:
        dry = (1 - light[L_GREEN]) * (0.5 if mat == TURF else 1.0)
        dry = min(1.0, max(0.0, dry + 0.25 * c * dry))
        r += (166 - r) * dry * 0.75
        g += (148 - g) * dry * 0.65
        b += (104 - b) * dry * 0.7
        tone = 1 + 0.11 * f + 0.13 * c
    elif mat == FIELD:
        # A field is sown, green, ripe or ploughed, depending on the day.
        state = _hash01(own, int(light[L_SEED]), 7)
        if state < 0.3:
            r, g, b = light[L_RR], light[L_RG], light[L_RB]
        elif state < 0.55:
            r, g, b = 186.0, 166.0, 112.0
        o = owners[own]
        rows = (x - o[O_X]) * o[O_UX] + (y - o[O_Y]) * o[O_UY]
        tone = 1 + 0.07 * math.sin(rows * 3.1) + 0.08 * f + 0.1 * c
    elif mat == WATER:
        tone = 1 + 0.05 * f + 0.1 * c
    elif mat == POOL:
        tone = 1 + 0.06 * f
    elif mat == ASPHALT or mat == PAINT:
        tone = 1 + 0.05 * f + 0.09 * c
    elif mat == ROOF_TILE:
        o = owners[own]
        rows = -(x - o[O_X]) * o[O_UY] + (y - o[O_Y]) * o[O_UX]
        tone = 1 + 0.08 * f + 0.07 * c + 0.035 * math.sin(rows * 9.0)
    elif mat == ROOF_METAL:
        o = owners[own]
        ribs = (x - o[O_X]) * o[O_UX] + (y - o[O_Y]) * o[O_UY]
        tone = 1 + 0.05 * math.sin(ribs * 5.2) + 0.04 * f + 0.1 * c
    elif mat == SOLAR:
        o = owners[own]
        a = (x - o[O_X]) * o[O_UX] + (y - o[O_Y]) * o[O_UY]
        d = -(x - o[O_X]) * o[O_UY] + (y - o[O_Y]) * o[O_UX]
        line = (a % 1.7) < 0.22 or (d % 2.1) < 0.22
        tone = 1.9 if line else 1 + 0.08 * f
    elif mat == RAIL:
        tone = 1 + 0.2 * f
    else:
        tone = 1 + 0.08 * f + 0.1 * c
    return r * tone, g * tone, b * tone


@njit(cache=True, error_model="numpy", forceinline=True)
def _car_colour(r, g, b, x, y, z, o):
    """Colour of a car's side before light: wheels, lights, glass, paint."""
    dx, dy = x - o[O_X], y - o[O_Y]
    a = dx * o[O_UX] + dy * o[O_UY]
    end = CAR_HL - abs(a) < 0.12
    if z > CAR_BODY_M:
        return 58.0, 66.0, 74.0
    if not end and z < 0.62 and abs(abs(a) - 1.35) < 0.34:
        return 34.0, 34.0, 36.0
    if z < 0.25:
        return 40.0, 40.0, 42.0
    if end and 0.55 < z < 0.78:
        if a > 0:
            return 226.0, 226.0, 214.0
        return 160.0, 40.0, 34.0
    return r, g, b


@njit(cache=True, error_model="numpy", forceinline=True)
def _facade(along, z, face, o):
    """Colour (r, g, b) of a building's wall before light, its tone, and 1 where it is glass.

    `along` is the position on the wall from its middle, `face` 1 and 2 the sides, 3 the back,
    4 the front. Everything follows from the owner's seed, so each building has its own look.
    """
    r, g, b = o[O_R], o[O_G], o[O_B]
    length = o[O_HL] if face <= 2 else o[O_HW]
    style, seed, floor = int(o[O_STYLE]), int(o[O_SEED]), o[O_FLOOR]
    front = face == 4
    storey = int(z / floor)
    up = z - storey * floor
    if style == _FACADE_BANDED:
        if int(z / 4.0) % 2 == 0:
            return 186.0, 60.0, 50.0, 1.0, 0.0
        return 222.0, 222.0, 218.0, 1.0, 0.0
    if z < 0.45 + 0.5 * _hash01(seed, 11, 0):
        return r, g, b, 0.72 + 0.12 * _hash01(seed, 12, 0), 0.0
    if z > o[O_EAVE] + 0.1:
        return r, g, b, 0.95, 0.0  # the gable's triangle has no windows
    if style == _FACADE_BLANK:
        if front and abs(along) < 2.2 and z < 3.6:
            return o[O_SR], o[O_SG], o[O_SB], 1.0 + 0.05 * math.sin(z * 12), 0.0
        return r, g, b, 1 + 0.06 * math.sin(along * 6.0), 0.0
    # Upper floors of some are rendered lighter, and some have corners or bands of the trim.
    look = _hash01(seed, 13, 0)
    if look < 0.22 and storey >= 1:
        r, g, b = r + (226 - r) * 0.55, g + (222 - g) * 0.55, b + (212 - b) * 0.55
    band = 0.22 < look < 0.42 and up < 0.28 and storey >= 1
    if band or (0.42 < look < 0.6 and length - abs(along) < 0.55):
        return o[O_TR], o[O_TG], o[O_TB], 1.0, 0.0
    count = max(1, int(2 * length / o[O_BAY]))
    width = 2 * length / count
    position = along + length
    bay = min(count - 1, int(position / width))
    centred = position - bay * width - width / 2
    across = abs(centred)
    sill = floor * 0.32
    head = sill + floor * o[O_WINH]
    if style == _FACADE_SHOP and storey == 0 and front:
        if up > floor * 0.74:
            # A sign with something written on it.
            inked = 0.25 < (up / floor - 0.74) / 0.26 < 0.75 and across < width * 0.4
            if inked and _hash01(seed + int(position / 0.35), 21, 0) < 0.55:
                return 236.0, 232.0, 220.0, 1.0, 0.0
            return o[O_SR], o[O_SG], o[O_SB], 1.0, 0.0
        if across < width * 0.44:
            return 74.0, 80.0, 86.0, 1.0, 1.0
        return r, g, b, 1.0, 0.0
    # Boards that hang between the windows, one above the other.
    boards = style == _FACADE_SHOP and front and across > width / 2 - 0.35 and storey <= 2
    if boards and _hash01(seed, 31 + bay, 0) < 0.4 and 0.2 < up / floor < 0.9:
        hue = PLATE_COLOURS[int(_hash01(seed, 32 + bay, storey) * 6)]
        return hue[0], hue[1], hue[2], 1.0, 0.0
    if style == _FACADE_RIBBON:
        if sill < up < head:
            if across > width * 0.46:
                return o[O_TR], o[O_TG], o[O_TB], 1.0, 1.0
            return 82.0, 96.0, 108.0, 1.0, 1.0
        return r, g, b, 1.0, 0.0
    if front and storey == 0 and bay == seed % count:
        if across < 0.55 and up < 2.15:
            return o[O_SR], o[O_SG], o[O_SB], 1.0, 0.0
        if across < 0.75 and up < 2.35:
            return o[O_TR], o[O_TG], o[O_TB], 1.0, 0.0
        return r, g, b, 1.0, 0.0
    garage = front and storey == 0 and count >= 3 and bay == (seed // 7 + 1) % count
    if garage and _hash01(seed, 14, 0) < 0.45 and across < min(1.4, width * 0.45):
        if up < 2.2:
            return 188.0, 186.0, 180.0, 1 + 0.06 * math.sin(up * 14), 0.0
        return r, g, b, 1.0, 0.0
    blind = 0.92 if front or face == 3 else 0.5
    if _hash01(seed, face * 64 + bay, 3) >= blind:
        return r, g, b, 1.0, 0.0
    balconies = _hash01(seed, 15, 0) < 0.5 and o[O_EAVE] > 8 and (front or face == 3)
    if balconies and storey >= 1 and bay % 2 == seed % 2 and across < width * 0.46 and up < 1.05:
        if up < 0.2:
            return 178.0, 176.0, 172.0, 1.0, 0.0
        return o[O_SR], o[O_SG], o[O_SB], 0.8 + 0.25 * math.sin(along * 22), 0.0
    if sill < up < head:
        half = o[O_WINW] * width / 2
        if across < half:
            curtain = _hash01(seed + bay, face, storey)
            if curtain > 0.75 and up > sill + (head - sill) * (curtain - 0.75) * 3:
                return 168.0, 162.0, 150.0, 1.0, 0.0
            return 66.0, 74.0, 82.0, 1.0, 1.0
        if across < half + 0.16:
            return o[O_TR], o[O_TG], o[O_TB], 1.0, 0.0
        if _hash01(seed, 16, 0) < 0.35 and across < half + 0.16 + 0.5 * half:
            return o[O_SR], o[O_SG], o[O_SB], 0.95 + 0.05 * math.sin(up * 30), 0.0
    return r, g, b, 1.0, 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _wall_colour(mat, r, g, b, x, y, z, own, owners, light, shade, fine, coarse):
    """Lit colour of an upright side: a facade where a building owns the cell."""
    f = _noise(fine, x + y, z, 4.0)
    if own <= 0 or mat == CAR or mat == HEDGE or mat == POST or mat == WALL:
        tone = 0.95 + 0.1 * f
        if mat == CAR and own > 0:
            r, g, b = _car_colour(r, g, b, x, y, z, owners[own])
        return _lit(r * tone, g * tone, b * tone, 0.0, 0.0, 0.6, min(1.0, shade + 0.4), light)
    o = owners[own]
    dx, dy = x - o[O_X], y - o[O_Y]
    a = dx * o[O_UX] + dy * o[O_UY]
    c = -dx * o[O_UY] + dy * o[O_UX]
    if o[O_HW] - abs(a) < o[O_HL] - abs(c):
        sign = 1.0 if a > 0 else -1.0
        nx, ny, along, face = sign * o[O_UX], sign * o[O_UY], c, 1 if a > 0 else 2
    else:
        sign = 1.0 if c > 0 else -1.0
        nx, ny, along, face = -sign * o[O_UY], sign * o[O_UX], a, 3 if c > 0 else 4
    r, g, b, tone, glass = _facade(along, z, face, o)
    tone *= 1 + 0.05 * f + 0.06 * _noise(coarse, along, z, 2.0)
    r, g, b = _lit(r * tone, g * tone, b * tone, nx, ny, 0.0, shade, light)
    if glass > 0:
        r, g, b = r * 0.8 + 28, g * 0.8 + 31, b * 0.8 + 35
    return r, g, b


@njit(cache=True, error_model="numpy", forceinline=True)
def _box_entry(x0, y0, dx, dy, o):
    """How far a level ray goes before it enters an owner's rectangle; -1 if it passes by."""
    px, py = x0 - o[O_X], y0 - o[O_Y]
    a, c = px * o[O_UX] + py * o[O_UY], -px * o[O_UY] + py * o[O_UX]
    da, dc = dx * o[O_UX] + dy * o[O_UY], -dx * o[O_UY] + dy * o[O_UX]
    near, far = -1e9, 1e9
    if abs(da) < 1e-9:
        if abs(a) > o[O_HW]:
            return -1.0
    else:
        reach = o[O_HW] / abs(da)
        near, far = -a / da - reach, -a / da + reach
    if abs(dc) < 1e-9:
        if abs(c) > o[O_HL]:
            return -1.0
    else:
        reach = o[O_HL] / abs(dc)
        near, far = max(near, -c / dc - reach), min(far, -c / dc + reach)
    if near > far or far < 0:
        return -1.0
    return max(0.0, near)


@njit(cache=True, error_model="numpy", forceinline=True)
def _exact_top(mat, top, x, y, o):
    """Height of a roof or a car at an exact point, where the raster knows one value a cell."""
    a = (x - o[O_X]) * o[O_UX] + (y - o[O_Y]) * o[O_UY]
    c = -(x - o[O_X]) * o[O_UY] + (y - o[O_Y]) * o[O_UX]
    if mat == CAR:
        if -1.5 < a < 0.95 and abs(c) < CAR_HW - 0.1:
            return CAR_CABIN_M
        return CAR_BODY_M
    shape = int(o[O_SHAPE])
    if shape == FLAT or not ROOF_TILE <= mat <= SOLAR:
        return top
    rise = o[O_TOP] - o[O_EAVE]
    return o[O_EAVE] + rise * max(0.0, _roof_rise(shape, a, c, o[O_HW], o[O_HL]))


@njit(cache=True, error_model="numpy", forceinline=True)
def _smooth_colour(colour, height, x, y):
    """Colour of the ground between the centres of cells, with edges kept rather sharp."""
    n = height.shape[0]
    half = n * CELL_M / 2
    u, v = (x + half) / CELL_M - 0.5, (half - y) / CELL_M - 0.5
    col, row = int(math.floor(u)), int(math.floor(v))
    if row < 0 or col < 0 or row >= n - 1 or col >= n - 1:
        row, col = min(n - 1, max(0, row)), min(n - 1, max(0, col))
        return float(colour[row, col, 0]), float(colour[row, col, 1]), float(colour[row, col, 2])
    u, v = u - col, v - row
    u, v = min(1.0, max(0.0, 1.6 * u - 0.3)), min(1.0, max(0.0, 1.6 * v - 0.3))
    r, g, b, total = 0.0, 0.0, 0.0, 0.0
    for i in range(2):
        for j in range(2):
            if height[row + i, col + j] > 30:
                continue
            w = (v if i else 1 - v) * (u if j else 1 - u) + 1e-6
            total += w
            r += w * colour[row + i, col + j, 0]
            g += w * colour[row + i, col + j, 1]
            b += w * colour[row + i, col + j, 2]
    if total == 0:
        return float(colour[row, col, 0]), float(colour[row, col, 1]), float(colour[row, col, 2])
    return r / total, g / total, b / total


@njit(cache=True, error_model="numpy", forceinline=True)
def _top_colour(
    row, col, x, y, z, height, material, colour, owner, shadow, owners, light, fine, coarse, smooth
):  # fmt: skip
    """Lit colour of the top of the cell (row, col) at the exact point (x, y, z)."""
    n = height.shape[0]
    mat = material[row, col]
    own = owner[row, col]
    r, g, b = float(colour[row, col, 0]), float(colour[row, col, 1]), float(colour[row, col, 2])
    if smooth and height[row, col] <= 30:
        r, g, b = _smooth_colour(colour, height, x, y)
    elif mat == CAR and own > 0 and z > CAR_BODY_M + 0.1:
        r, g, b = r * 0.9, g * 0.9, b * 0.9
    r, g, b = _ground_colour(mat, r, g, b, x, y, own, owners, light, fine, coarse)
    nx, ny, nz = 0.0, 0.0, 1.0
    if (
        (mat == ROOF_TILE or mat == ROOF_METAL or mat == SOLAR)
        and 0 < row < n - 1
        and 0 < col < n - 1
    ):
        gx = (int(height[row, col + 1]) - int(height[row, col - 1])) * 0.01 / (2 * CELL_M)
        gy = (int(height[row - 1, col]) - int(height[row + 1, col])) * 0.01 / (2 * CELL_M)
        if abs(gx) < 1.4 and abs(gy) < 1.4:
            size = math.sqrt(1 + gx * gx + gy * gy)
            nx, ny, nz = -gx / size, -gy / size, 1 / size
    shade = _shade_at(shadow, row, col, z)
    return _lit(r, g, b, nx, ny, nz, shade, light)


@njit(cache=True, error_model="numpy", forceinline=True)
def _crown_colour(
    row, col, x, y, z, crown_top, crown_base, crown_kind, shadow, light, fine
):  # fmt: skip
    n = crown_top.shape[0]
    top, base = crown_top[row, col] * 0.1, crown_base[row, col] * 0.1
    r, g, b = _leaf(crown_kind[row, col], x, y, z, top, base, light, fine)
    nx, ny, nz = 0.0, 0.0, 1.0
    if 1 < row < n - 2 and 1 < col < n - 2:
        gx = (int(crown_top[row, col + 2]) - int(crown_top[row, col - 2])) * 0.1 / (4 * CELL_M)
        gy = (int(crown_top[row - 2, col]) - int(crown_top[row + 2, col])) * 0.1 / (4 * CELL_M)
        size = math.sqrt(1 + gx * gx + gy * gy)
        nx, ny, nz = -gx / size, -gy / size, 1 / size
    shade = _shade_at(shadow, row, col, z + 0.6)
    return _lit(r, g, b, nx, ny, nz, shade, light)


@njit(cache=True, error_model="numpy", forceinline=True)
def _outside_colour(x, y, light, table):
    """The plain country around the town, known only by its season and texture."""
    patch = _noise(table, x, y, 0.22)
    r, g, b = _ground_colour_outside(light, patch)
    return _lit(r, g, b, 0.0, 0.0, 1.0, 0.0, light)


@njit(cache=True, error_model="numpy", forceinline=True)
def _ground_colour_outside(light, patch):
    green = light[L_GREEN] * 0.6
    r = light[L_RR] + (96 - light[L_RR]) * green
    g = light[L_RG] + (112 - light[L_RG]) * green
    b = light[L_RB] + (66 - light[L_RB]) * green
    tone = 1 + 0.25 * patch
    return r * tone, g * tone, b * tone


@njit(cache=True, error_model="numpy", forceinline=True)
def _leafy(kind_tint, x, y, z, light):
    """Whether a line of sight is stopped by leaves here."""
    kind = kind_tint // 32
    density = 0.72
    if kind == PLATE:
        return True
    if kind == BROADLEAF or kind == ORCHARD:
        density -= 0.5 * light[L_BARE]
    elif kind == PALM:
        density = 0.55
    bunch = _hash01(int(x * 2.4 + 4096), int(y * 2.4 + 4096), int(z * 2.4))
    return bunch < density


@njit(cache=True, error_model="numpy", forceinline=True)
def _put(out, i, j, r, g, b, sparse):
    out[i, j, 0], out[i, j, 1], out[i, j, 2] = r, g, b
    if sparse:
        k = j - 1 if j % 2 else j + 1
        out[i, k, 0], out[i, k, 1], out[i, k, 2] = r, g, b


@njit(cache=True, error_model="numpy")
def render_rays(
    height, material, colour, owner, crown_top, crown_base, crown_kind, shadow, tops, block,
    owners, light, fine, coarse, camera, rows, cols, sparse,
):  # fmt: skip
    """Perspective (or parallel) picture of the town: float32 (rows, cols, 3), values 0..255.

    `camera` holds: x, y, z of the centre; unit vectors right (3), down (3), forward (3); half
    extent of the picture plane right and down (tangents for perspective, metres for parallel);
    1 for a parallel projection. `sparse` draws the two samples on one diagonal of every 2 x 2 and
    copies each to its neighbour in the row, for pictures that `develop` averages.
    """
    out = np.empty((rows, cols, 3), np.float32)
    n = height.shape[0]
    half = n * CELL_M / 2
    block_m = block * CELL_M
    parallel = camera[14] > 0.5
    highest = tops.max() + 0.1
    for i in range(rows):
        v = ((i + 0.5) / rows * 2 - 1) * camera[13]
        for j in range(i % 2 if sparse else 0, cols, 2 if sparse else 1):
            u = ((j + 0.5) / cols * 2 - 1) * camera[12]
            x, y, z = camera[0], camera[1], camera[2]
            dx, dy, dz = camera[9], camera[10], camera[11]
            ox = u * camera[3] + v * camera[6]
            oy = u * camera[4] + v * camera[7]
            oz = u * camera[5] + v * camera[8]
            if parallel:
                x += ox
                y += oy
                z += oz
            else:
                dx += ox
                dy += oy
                dz += oz
                size = math.sqrt(dx * dx + dy * dy + dz * dz)
                dx /= size
                dy /= size
                dz /= size
            travelled = 0.0
            r, g, b = 0.0, 0.0, 0.0
            if dz > -0.01:
                r, g, b = _sky(dx, dy, max(0.0, dz), light, coarse)
                _put(out, i, j, r, g, b, sparse)
                continue
            if z > highest:
                reach = (z - highest) / -dz
                x += reach * dx
                y += reach * dy
                z = highest
                travelled = reach
            while True:
                col = int(math.floor((x + half) / CELL_M))
                row = int(math.floor((half - y) / CELL_M))
                if row < 0 or col < 0 or row >= n or col >= n:
                    if z <= 1e-6:
                        r, g, b = _outside_colour(x, y, light, coarse)
                        break
                    reach = min(8.0, z / -dz)
                    x += reach * dx
                    y += reach * dy
                    z += reach * dz
                    travelled += reach
                    continue
                ceiling = tops[row // block, col // block]
                if z > ceiling + 0.05:
                    reach = (z - ceiling) / -dz
                    # Distance to the edge of this block.
                    if dx > 1e-9:
                        reach = min(reach, ((col // block + 1) * block_m - half - x) / dx + 1e-3)
                    elif dx < -1e-9:
                        reach = min(reach, ((col // block) * block_m - half - x) / dx + 1e-3)
                    if dy > 1e-9:
                        reach = min(reach, (half - (row // block) * block_m - y) / dy + 1e-3)
                    elif dy < -1e-9:
                        reach = min(reach, (half - (row // block + 1) * block_m - y) / dy + 1e-3)
                    reach = max(reach, 1e-3)
                    x += reach * dx
                    y += reach * dy
                    z += reach * dz
                    travelled += reach
                    continue
                top = height[row, col] * 0.01
                # A side is what the ray enters well below the top; slopes rise in small steps.
                if top > 0.25 and z < top - (0.6 if top > 2.2 else 0.25):
                    r, g, b = _wall_colour(
                        material[row, col], float(colour[row, col, 0]),
                        float(colour[row, col, 1]), float(colour[row, col, 2]), x, y, z,
                        owner[row, col], owners, light,
                        _wall_shade(shadow, x, y, z, dx, dy), fine, coarse,
                    )  # fmt: skip
                    break
                # Way to where the ray leaves this cell, or meets its top.
                reach = (z - top) / -dz if z > top else 0.0
                if dx > 1e-9:
                    reach = min(reach, ((col + 1) * CELL_M - half - x) / dx + 1e-4)
                elif dx < -1e-9:
                    reach = min(reach, (col * CELL_M - half - x) / dx + 1e-4)
                if dy > 1e-9:
                    reach = min(reach, (half - row * CELL_M - y) / dy + 1e-4)
                elif dy < -1e-9:
                    reach = min(reach, (half - (row + 1) * CELL_M - y) / dy + 1e-4)
                crown = crown_top[row, col] * 0.1
                low = z + reach * dz
                if crown > 0 and low <= crown and z >= crown_base[row, col] * 0.1:
                    inside = min(z, crown)
                    leaves = False
                    while inside >= max(low, crown_base[row, col] * 0.1):
                        ahead = (z - inside) / -dz
                        if _leafy(
                            crown_kind[row, col],
                            x + ahead * dx,
                            y + ahead * dy,
                            inside,
                            light,
                        ):
                            leaves = True
                            break
                        inside -= 0.4
                    if leaves:
                        ahead = (z - inside) / -dz
                        travelled += ahead
                        r, g, b = _crown_colour(
                            row, col, x + ahead * dx, y + ahead * dy, inside, crown_top, crown_base,
                            crown_kind, shadow, light, fine,
                        )  # fmt: skip
                        break
                x += reach * dx
                y += reach * dy
                z = low
                travelled += reach
                if z <= top + 1e-6:
                    r, g, b = _top_colour(
                        row, col, x, y, max(z, top), height, material, colour, owner, shadow,
                        owners, light, fine, coarse, False,
                    )  # fmt: skip
                    break
            if not parallel:
                haze = 1 - math.exp(-light[L_HAZE] * travelled)
                r += (200 - r) * haze
                g += (207 - g) * haze
                b += (216 - b) * haze
            _put(out, i, j, r, g, b, sparse)
    return out


@njit(cache=True, error_model="numpy", forceinline=True)
def _wall_shade(shadow, x, y, z, dx, dy):
    """Shadow on a wall, read one metre in front of it."""
    n = shadow.shape[0]
    half = n * CELL_M / 2
    size = math.hypot(dx, dy)
    if size < 1e-6:
        return 0.0
    col = int((x - dx / size + half) / CELL_M)
    row = int((half - y + dy / size) / CELL_M)
    if row < 0 or col < 0 or row >= n or col >= n:
        return 0.0
    return _shade_at(shadow, row, col, z)


@njit(cache=True, error_model="numpy")
def render_panorama(
    height, material, colour, owner, crown_top, crown_base, crown_kind, shadow,
    owners, light, fine, coarse, x0, y0, eye, yaw, span, tilt_top, tilt_bottom, rows, cols, reach,
):  # fmt: skip
    """Equirectangular picture, float32 (rows, cols, 3): `span` radians wide, centred on `yaw`.

    Rows run linearly from the elevation `tilt_top` down to `tilt_bottom` (radians). A column is
    one vertical plane: it is walked outwards once, and what rises above everything nearer fills
    the next pixels upwards; crowns fill theirs where nothing nearer did.
    """
    out = np.empty((rows, cols, 3), np.float32)
    n = height.shape[0]
    half = n * CELL_M / 2
    per_row = (tilt_top - tilt_bottom) / rows
    slopes = np.empty(rows, np.float64)
    for i in range(rows):
        angle = tilt_top - (i + 0.5) * per_row
        slopes[i] = math.tan(min(1.5690, max(-1.5690, angle)))
    filled = np.zeros(rows, np.bool_)
    sky = np.zeros(rows, np.bool_)  # what the column before left to the sky
    for j in range(cols):
        azimuth = yaw + ((j + 0.5) / cols - 0.5) * span
        dx, dy = math.sin(azimuth), math.cos(azimuth)
        filled[:] = False
        if j % 2 == 0:
            sky[:] = False
        lowest = rows - 1  # everything below this row is taken by solid things
        t = 0.3
        before = 0.0
        step = 0.25
        entered, entry = 0, 0.0
        while t < reach and lowest >= 0:
            x, y = x0 + t * dx, y0 + t * dy
            col = int(math.floor((x + half) / CELL_M))
            row = int(math.floor((half - y) / CELL_M))
            if row < 0 or col < 0 or row >= n or col >= n:
                break
            top = height[row, col] * 0.01
            if top > 0 and material[row, col] == POST:
                # Posts and trunks are thinner than the cell that holds them.
                off_x = (col + 0.5) * CELL_M - half - x
                off_y = half - (row + 0.5) * CELL_M - y
                if abs(off_x * dy - off_y * dx) > (0.1 if colour[row, col, 0] > 100 else 0.2):
                    top = 0.0
            # What has an owner has straight sides and a smooth roof, whatever its cells say.
            hit = t
            own = owner[row, col]
            mat = material[row, col]
            owned = ROOF_FLAT <= mat <= HEDGE or mat == PARAPET or mat == WALL
            if own > 0 and top > 0.25 and owned:
                if own != entered:
                    entered, entry = own, _box_entry(x0, y0, dx, dy, owners[own])
                # The camera stands in a lane; a car that it would stand in is its own.
                if entry < 0 or entry > t or (mat == CAR and entry < 1.2):
                    t += step
                    continue
                if before < 0.5 and t - entry < 1.0 + step:
                    hit = max(0.3, entry)
                top = _exact_top(material[row, col], top, x0 + hit * dx, y0 + hit * dy, owners[own])
            slope = (top - eye) / hit
            if slopes[lowest] < slope:
                jump = top - before > max(0.7, 1.3 * step)
                haze = 1 - math.exp(-light[L_HAZE] * t)
                wall_x, wall_y = x0 + hit * dx, y0 + hit * dy
                while lowest >= 0 and slopes[lowest] < slope:
                    if (
                        slopes[lowest] < -0.35
                        and lowest % 2 == 0
                        and lowest + 1 < rows
                        and not filled[lowest]
                        and not jump
                    ):
                        # Rows this near the feet show less than half a cell: two share a sample.
                        for c in range(3):
                            out[lowest, j, c] = out[lowest + 1, j, c]
                        filled[lowest] = True
                    if not filled[lowest]:
                        z = eye + hit * slopes[lowest]
                        if jump and z < top - 0.01:
                            r, g, b = _wall_colour(
                                material[row, col], float(colour[row, col, 0]),
                                float(colour[row, col, 1]), float(colour[row, col, 2]),
                                wall_x, wall_y, z, own, owners, light,
                                _wall_shade(shadow, wall_x, wall_y, z, dx, dy), fine, coarse,
                            )  # fmt: skip
                        else:
                            px, py, prow, pcol = x, y, row, col
                            # Farther off a pixel is larger than a cell, and needs no smoothing.
                            near = t < 25
                            if slopes[lowest] < 0 and top < eye:
                                ground = min(t, (top - eye) / slopes[lowest])
                                px, py = x0 + ground * dx, y0 + ground * dy
                                pcol = min(n - 1, max(0, int((px + half) / CELL_M)))
                                prow = min(n - 1, max(0, int((half - py) / CELL_M)))
                                if height[prow, pcol] > height[row, col] + 20:
                                    prow, pcol, near = row, col, False
                            r, g, b = _top_colour(
                                prow, pcol, px, py, top, height, material, colour, owner, shadow,
                                owners, light, fine, coarse, near,
                            )  # fmt: skip
                            if material[prow, pcol] == WATER:
                                facing = 1 / math.sqrt(1 + slopes[lowest] * slopes[lowest])
                                mix = 0.55 * facing
                                r += (176 - r) * mix
                                g += (188 - g) * mix
                                b += (198 - b) * mix
                        out[lowest, j, 0] = r + (200 - r) * haze
                        out[lowest, j, 1] = g + (207 - g) * haze
                        out[lowest, j, 2] = b + (216 - b) * haze
                        filled[lowest] = True
                    lowest -= 1
            before = top
            crown = crown_top[row, col] * 0.1
            if crown > 0 and lowest >= 0:
                high = math.atan((crown - eye) / t)
                low = math.atan((crown_base[row, col] * 0.1 - eye) / t)
                first = max(0, int(math.ceil((tilt_top - high) / per_row - 0.5)))
                last = min(lowest, int(math.floor((tilt_top - low) / per_row - 0.5)))
                if first <= last:
                    haze = 1 - math.exp(-light[L_HAZE] * t)
                    for i in range(first, last + 1):
                        if filled[i]:
                            continue
                        z = eye + t * slopes[i]
                        if not _leafy(crown_kind[row, col], x, y, z, light):
                            continue
                        r, g, b = _crown_colour(
                            row, col, x, y, z, crown_top, crown_base, crown_kind, shadow, light,
                            fine,
                        )  # fmt: skip
                        out[i, j, 0] = r + (200 - r) * haze
                        out[i, j, 1] = g + (207 - g) * haze
                        out[i, j, 2] = b + (216 - b) * haze
                        filled[i] = True
            step = 0.25 if t < 20 else min(1.0, 0.25 + (t - 20) * 0.008)
            t += step
        # What is left: country up to a skyline of far hills and trees, then the sky.
        far = 0.010 * (1 + _noise(coarse, azimuth * 9, 3.0, 6.0)) + 0.006
        far += light[L_HILLS] * (0.55 + 0.45 * math.sin(azimuth * 3 + light[L_SEED] % 7))
        for i in range(lowest + 1):
            if filled[i]:
                continue
            if slopes[i] < 0:
                hit = -eye / slopes[i]
                x, y = x0 + hit * dx, y0 + hit * dy
                col = int(math.floor((x + half) / CELL_M))
                row = int(math.floor((half - y) / CELL_M))
                if 0 <= row < n and 0 <= col < n:
                    r, g, b = _top_colour(
                        row,
                        col,
                        x,
                        y,
                        0.0,
                        height,
                        material,
                        colour,
                        owner,
                        shadow,
                        owners,
                        light,
                        fine,
                        coarse,
                        False,
                    )
                else:
                    r, g, b = _outside_colour(x, y, light, coarse)
                haze = 1 - math.exp(-light[L_HAZE] * min(hit, 4000.0))
                r, g, b = r + (200 - r) * haze, g + (207 - g) * haze, b + (216 - b) * haze
            elif slopes[i] < far:
                haze = 1 - math.exp(-light[L_HAZE] * 1400)
                r, g, b = _ground_colour_outside(
                    light, 0.3 * _noise(coarse, azimuth * 60, slopes[i] * 300, 3.0)
                )
                r, g, b = _lit(r * 0.7, g * 0.75, b * 0.7, 0.0, 0.0, 0.7, 0.0, light)
                r, g, b = r + (200 - r) * haze, g + (207 - g) * haze, b + (216 - b) * haze
            elif i % 2 == 1 and not filled[i - 1]:
                continue  # made with the row above
            else:
                # The sky is smooth: every other row and column is a copy.
                if j % 2 == 1 and sky[i]:
                    r, g, b = out[i, j - 1, 0], out[i, j - 1, 1], out[i, j - 1, 2]
                else:
                    cosine = 1 / math.sqrt(1 + slopes[i] * slopes[i])
                    r, g, b = _sky(dx * cosine, dy * cosine, slopes[i] * cosine, light, coarse)
                    sky[i] = True
                if i < lowest and not filled[i + 1]:
                    out[i + 1, j, 0], out[i + 1, j, 1], out[i + 1, j, 2] = r, g, b
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = r, g, b
    return out


@njit(cache=True, error_model="numpy")
def develop(picture, factor, gain, contrast, blur, noise, seed):
    """Average `factor` x `factor` samples to a pixel and pass it through a camera: uint8 HWC.

    `gain` (3) is exposure times white balance, `contrast` stretches about mid grey, `blur` (0..1)
    mixes in the neighbours, `noise` is the deviation of the grain in grey levels.
    """
    rows, cols = picture.shape[0] // factor, picture.shape[1] // factor
    small = np.empty((rows, cols, 3), np.float32)
    share = np.float32(1.0 / (factor * factor))
    for i in range(rows):
        for j in range(cols):
            for c in range(3):
                total = np.float32(0.0)
                for di in range(factor):
                    for dj in range(factor):
                        total += picture[i * factor + di, j * factor + dj, c]
                small[i, j, c] = total * share
    out = np.empty((rows, cols, 3), np.uint8)
    for i in range(rows):
        up, down = max(0, i - 1), min(rows - 1, i + 1)
        for j in range(cols):
            left, right = max(0, j - 1), min(cols - 1, j + 1)
            grain = 0.0
            if noise > 0:
                grain = (_hash01(i, j, seed) - 0.5) * 3.46 * noise
            for c in range(3):
                value = small[i, j, c]
                if blur > 0:
                    around = small[up, j, c] + small[down, j, c] + small[i, left, c]
                    around = (around + small[i, right, c]) / 4
                    value += (around - value) * blur
                value = (value * gain[c] - 116) * contrast + 116 + grain
                out[i, j, c] = int(min(255.0, max(0.0, value + 0.5)))
    return out
