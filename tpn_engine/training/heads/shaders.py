"""The head's shaders, GLSL 3.30: one fragment program a material, so that none pays for the others.

Light is in linear RGB. Diffuse light comes through each vertex's transfer (shadowed); highlights
come from the lamps and, as a reflection, from the light's harmonics.
"""

from __future__ import annotations

from tpn_engine.training.heads.mesh import Material

_LIGHT = """#version 330
uniform vec3 harmonics[9];

// Irradiance over pi at a unit normal, unshadowed (light.py, irradiance).
vec3 irradiance(vec3 n) {
    vec3 e = harmonics[0] * 0.282095
        + 0.325735 * (harmonics[1] * n.y + harmonics[2] * n.z + harmonics[3] * n.x)
        + 0.273137 * (harmonics[4] * n.x * n.y + harmonics[5] * n.y * n.z + harmonics[7] * n.x * n.z)
        + 0.078848 * harmonics[6] * (3.0 * n.z * n.z - 1.0)
        + 0.136637 * harmonics[8] * (n.x * n.x - n.y * n.y);
    return max(e, vec3(0.0));
}
"""

# How each material softens its shadows: light that travels inside skin (red furthest) or through hair.
_SOFTEN: dict[Material, str] = {
    "skin": "mix(shadowed, open * (0.35 + 0.65 * openness), vec3(0.30, 0.10, 0.06))",
    "cloth": "shadowed",
    "glossy": "shadowed",
    "hair_card": "mix(shadowed, open * openness, 0.3)",
    "strand": "mix(shadowed, open * openness, 0.3)",
    "decal": "mix(shadowed, open, 0.5)",
}

_VERTEX = """
uniform mat4 view_projection;
in vec3 position;
in vec3 normal;
in vec2 uv;
in mat3 transfer;
in vec4 tangent;
out vec3 world;
out vec3 world_normal;
out vec2 texel;
out vec3 light;         // irradiance, shadowed and softened
out vec3 open_light;    // irradiance if nothing stood in the way
out float open_share;   // how much of the sky is seen, 0 to 1
out vec4 hair;          // direction and shade

void main() {
    vec3 open = irradiance(normal);
    float openness = clamp(transfer[0].x / 0.282095, 0.0, 1.0);
    vec3 shadowed = max(
        harmonics[0] * transfer[0].x + harmonics[1] * transfer[0].y + harmonics[2] * transfer[0].z
        + harmonics[3] * transfer[1].x + harmonics[4] * transfer[1].y + harmonics[5] * transfer[1].z
        + harmonics[6] * transfer[2].x + harmonics[7] * transfer[2].y + harmonics[8] * transfer[2].z, vec3(0.0));
    world = position;
    world_normal = normal;
    texel = uv;
    hair = tangent;
    open_light = open;
    open_share = openness;
    light = SOFTENED;
    gl_Position = view_projection * vec4(position, 1.0);
}
"""

_FRAGMENT = """
in vec3 world;
in vec3 world_normal;
in vec2 texel;
in vec3 light;
in vec3 open_light;
in float open_share;
in vec4 hair;
uniform sampler2D picture;
uniform vec3 camera;
uniform vec3 forward;
uniform vec3 box_low, box_high;
uniform vec3 lamp_direction[3];
uniform vec3 lamp_color[3];
uniform int lamp_count;
uniform vec3 tint;
uniform vec3 root_tint;
uniform float roughness;
uniform float specular;
uniform float opacity;
uniform float luminance;
uniform float bump;
layout(location = 0) out vec4 out_color;
layout(location = 1) out vec4 out_geometry;  // normal, depth along the camera's z

// Interleaved gradient noise (Jimenez 2014): thin hair by chance instead of blending it.
float dither() {
    return fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715))));
}

// sRGB to linear, close to the power 2.2.
vec3 linear(vec3 c) {
    return c * c * (c * 0.2 + 0.8);
}

// GGX highlights of the lamps and a blurred reflection of the surroundings.
vec3 gloss(vec3 n, vec3 v) {
    vec3 sum = vec3(0.0);
    float nv = max(dot(n, v), 0.03);
    float visible = clamp(open_share * 1.3 - 0.25, 0.0, 1.0);
    float a2 = roughness * roughness;
    a2 *= a2;
    float k = (roughness + 1.0) * (roughness + 1.0) * 0.125;
    float gv = nv * (1.0 - k) + k;
    for (int i = 0; i < lamp_count; i++) {
        float nl = max(dot(n, lamp_direction[i]), 0.0);
        if (nl <= 0.0) continue;
        vec3 h = normalize(lamp_direction[i] + v);
        float nh = max(dot(n, h), 0.0);
        float x = 1.0 - max(dot(v, h), 0.0);
        float fresnel = 0.028 + 0.972 * x * x * x * x * x;
        float d = nh * nh * (a2 - 1.0) + 1.0;
        sum += lamp_color[i]
            * (nl * fresnel * specular * visible * 0.125 * a2 / (d * d * (nl * (1.0 - k) + k) * gv));
    }
    float x = (1.0 - nv) * (1.0 - nv);
    float fresnel = 0.028 + 0.35 * x * x * (1.0 - nv);
    return sum + irradiance(reflect(-v, n)) * (fresnel * specular * visible * 0.7);
}

float power32(float x) {
    x *= x; x *= x; x *= x; x *= x;
    return x * x;
}

float power8(float x) {
    x *= x; x *= x;
    return x * x;
}

// Two highlights along the hair (after Kajiya and Kay 1989), the second shifted and of the hair's colour.
vec3 hair_gloss(vec3 n, vec3 v, vec3 albedo) {
    vec3 sum = vec3(0.0);
    vec3 along = normalize(hair.xyz);
    vec3 shifted = normalize(along - 0.12 * n);
    for (int i = 0; i < lamp_count; i++) {
        vec3 h = normalize(lamp_direction[i] + v);
        float first = dot(along, h), second = dot(shifted, h);
        float weight = max(dot(n, lamp_direction[i]) * 0.6 + 0.4, 0.0) * open_share * specular;
        sum += lamp_color[i] * weight
            * (0.03 * power32(max(0.0, 1.0 - first * first)) + albedo * 0.30 * power8(max(0.0, 1.0 - second * second)));
    }
    return sum;
}

MATERIAL

void main() {
    if (any(lessThan(world, box_low)) || any(greaterThan(world, box_high))) discard;
    vec3 n = normalize(world_normal);
    vec3 v = normalize(camera - world);
    out_color = shade(n, v);
    out_geometry = vec4(n, dot(world - camera, forward));
}
"""

_FACE_CAMERA = "    if (dot(n, v) < 0.0) n = -n;\n"

# Relief from the picture's brightness without tangents (Mikkelsen 2010).
_RELIEF = """    vec4 t = texture(picture, texel);
    vec3 dx = dFdx(world), dy = dFdy(world);
    float height = dot(t.rgb, vec3(0.33));
    vec3 r1 = cross(dy, n), r2 = cross(n, dx);
    float det = dot(dx, r1);
    vec3 relief = normalize(abs(det) * n - bump * sign(det) * (dFdx(height) * r1 + dFdy(height) * r2));
    vec3 e = light * clamp((irradiance(relief) + 0.02) / (open_light + 0.02), 0.6, 1.6)
        * smoothstep(-0.05, 0.30, open_share);
    n = relief;
    return vec4(linear(t.rgb) * e + gloss(n, v), 1.0);
"""

_SHADE: dict[Material, str] = {
    "skin": _RELIEF,
    "cloth": _FACE_CAMERA + _RELIEF,
    "glossy": _FACE_CAMERA
    + """    vec3 albedo = linear(texture(picture, texel).rgb) * tint;
    return vec4(albedo * light + gloss(n, v), 1.0);
""",
    "hair_card": _FACE_CAMERA
    + """    vec4 t = texture(picture, texel);
    float l = dot(t.rgb, vec3(0.3, 0.59, 0.11)) / luminance;
    l = l * sqrt(max(l, 0.0));
    l = sqrt(l * max(l, 0.1));
    vec3 albedo = mix(root_tint, tint, clamp(l * 0.75, 0.0, 1.0)) * clamp(l, 0.15, 1.8);
    if (t.a < mix(0.08, 0.85, dither())) discard;
    return vec4(albedo * light + hair_gloss(n, v, albedo), 1.0);
""",
    "strand": _FACE_CAMERA
    + """    float across = abs(texel.x * 2.0 - 1.0);
    float cover = (1.0 - across * across) * smoothstep(1.0, 0.72, texel.y);
    if (cover < mix(0.05, 0.7, dither())) discard;
    vec3 albedo = mix(root_tint, tint, clamp(0.5 + hair.w, 0.0, 1.3)) * mix(0.55, 1.1, smoothstep(0.0, 0.25, texel.y));
    return vec4(albedo * light + hair_gloss(n, v, albedo), 1.0);
""",
    "decal": _FACE_CAMERA
    + """    float cover = min(texture(picture, texel).a * opacity, 0.97);
    if (cover < 0.02) discard;
    return vec4(tint * light, cover);
""",
}

RESOLVE_VERTEX = """#version 330
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }
"""

# Averages each pixel's samples: colour by coverage after a filmic curve, geometry where it is solid.
RESOLVE_FRAGMENT = """#version 330
uniform sampler2D color;
uniform sampler2D geometry;
uniform int samples;
layout(location = 0) out vec4 out_color;
layout(location = 1) out vec4 out_geometry;

void main() {
    ivec2 first = ivec2(gl_FragCoord.xy) * samples;
    vec4 sum = vec4(0.0), solid = vec4(0.0);
    float count = 0.0;
    for (int j = 0; j < samples; j++) for (int i = 0; i < samples; i++) {
        vec4 c = texelFetch(color, first + ivec2(i, j), 0);
        vec3 shown = c.rgb * (1.0 + c.rgb * 0.12) / (1.0 + c.rgb * 0.55) * 1.25;
        sum += vec4(clamp(shown, 0.0, 1.0) * c.a, c.a);
        if (c.a > 0.5) {
            solid += texelFetch(geometry, first + ivec2(i, j), 0);
            count += 1.0;
        }
    }
    vec3 rgb = sum.a > 0.0 ? sum.rgb / sum.a : vec3(0.0);
    out_color = vec4(pow(rgb, vec3(1.0 / 2.2)), sum.a / float(samples * samples));
    out_geometry = count > 0.0 ? vec4(normalize(solid.xyz + 1e-6), solid.w / count) : vec4(0.0);
}
"""


def vertex_shader(material: Material) -> str:
    """The vertex program of a material."""
    return _LIGHT + _VERTEX.replace("SOFTENED", _SOFTEN[material])


def fragment_shader(material: Material) -> str:
    """The fragment program of a material."""
    shade = f"vec4 shade(inout vec3 n, vec3 v) {{\n{_SHADE[material]}}}"
    return _LIGHT + _FRAGMENT.replace("MATERIAL", shade)
