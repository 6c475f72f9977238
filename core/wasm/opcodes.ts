/** WebAssembly binary opcodes used by the emitters (WebAssembly core specification 2.0, section 5.4). */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;
export const BLOCK_EMPTY = 0x40;

export const op = {
  unreachable: 0x00, nop: 0x01, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e,
  return: 0x0f, call: 0x10, callIndirect: 0x11, returnCall: 0x12, returnCallIndirect: 0x13, drop: 0x1a, select: 0x1b, localGet: 0x20, localSet: 0x21, localTee: 0x22, globalGet: 0x23,
  i32Load: 0x28, i64Load: 0x29, i32Load8S: 0x2c, i32Load8U: 0x2d, i32Load16S: 0x2e, i32Load16U: 0x2f,
  i64Load8S: 0x30, i64Load8U: 0x31, i64Load16S: 0x32, i64Load16U: 0x33, i64Load32S: 0x34, i64Load32U: 0x35,
  i32Store: 0x36, i64Store: 0x37, i32Store8: 0x3a, i32Store16: 0x3b, i64Store32: 0x3e,
  i32Const: 0x41, i64Const: 0x42,
  i32Eqz: 0x45, i32Eq: 0x46, i32Ne: 0x47, i32LtS: 0x48, i32LtU: 0x49, i32GtS: 0x4a, i32GtU: 0x4b, i32LeS: 0x4c, i32LeU: 0x4d,
  i32GeS: 0x4e, i32GeU: 0x4f,
  i64Eqz: 0x50, i64Eq: 0x51, i64Ne: 0x52, i64LtS: 0x53, i64LtU: 0x54, i64GtS: 0x55, i64GtU: 0x56, i64LeS: 0x57, i64LeU: 0x58,
  i64GeS: 0x59, i64GeU: 0x5a,
  i32Clz: 0x67, i32Ctz: 0x68, i32Popcnt: 0x69, i32Add: 0x6a, i32Sub: 0x6b, i32Mul: 0x6c, i32DivS: 0x6d, i32DivU: 0x6e, i32RemS: 0x6f,
  i32RemU: 0x70, i32And: 0x71, i32Or: 0x72, i32Xor: 0x73, i32Shl: 0x74, i32ShrS: 0x75, i32ShrU: 0x76, i32Rotl: 0x77, i32Rotr: 0x78,
  i64Clz: 0x79, i64Ctz: 0x7a, i64Popcnt: 0x7b, i64Add: 0x7c, i64Sub: 0x7d, i64Mul: 0x7e, i64DivS: 0x7f, i64DivU: 0x80, i64RemS: 0x81,
  i64RemU: 0x82, i64And: 0x83, i64Or: 0x84, i64Xor: 0x85, i64Shl: 0x86, i64ShrS: 0x87, i64ShrU: 0x88, i64Rotl: 0x89, i64Rotr: 0x8a,
  i32WrapI64: 0xa7, i64ExtendI32S: 0xac, i64ExtendI32U: 0xad,
  i32Extend8S: 0xc0, i32Extend16S: 0xc1, i64Extend8S: 0xc2, i64Extend16S: 0xc3, i64Extend32S: 0xc4,
} as const;

/** Prefix byte of the vector instructions. */
export const simd = 0xfd;

/** Vector opcodes after the prefix. */
export const v = {
  load: 0, load8x8S: 1, load64Zero: 0x5d, load32Zero: 0x5c, store: 11, const: 12, shuffle: 13, swizzle: 14,
  i8x16Splat: 15, i16x8Splat: 16, i32x4Splat: 17, i64x2Splat: 18,
  i8x16ExtractS: 21, i8x16ExtractU: 22, i8x16Replace: 23, i16x8ExtractS: 24, i16x8ExtractU: 25, i16x8Replace: 26,
  i32x4Extract: 27, i32x4Replace: 28, i64x2Extract: 29, i64x2Replace: 30,
  i8x16Eq: 35, i8x16GtS: 39, i8x16GtU: 40, i16x8Eq: 45, i16x8GtS: 49, i16x8GtU: 50, i32x4Eq: 55, i32x4GtS: 59, i32x4GtU: 60,
  not: 77, and: 78, andnot: 79, or: 80, xor: 81, bitselect: 82, anyTrue: 83,
  i8x16Abs: 96, i8x16Bitmask: 100, i8x16NarrowS: 101, i8x16NarrowU: 102,
  i8x16Shl: 107, i8x16ShrS: 108, i8x16ShrU: 109, i8x16Add: 110, i8x16AddSatS: 111, i8x16AddSatU: 112, i8x16Sub: 113, i8x16SubSatS: 114,
  i8x16SubSatU: 115, i8x16MinS: 118, i8x16MinU: 119, i8x16MaxS: 120, i8x16MaxU: 121, i8x16AvgU: 123,
  i16x8ExtaddS: 124, i16x8ExtaddU: 125, i32x4ExtaddS: 126, i32x4ExtaddU: 127, i16x8Abs: 128, i16x8Q15MulrSatS: 130, i16x8Bitmask: 132,
  i16x8NarrowS: 133, i16x8NarrowU: 134, i16x8ExtendLowS: 135,
  i16x8ExtendHighS: 136, i16x8ExtendLowU: 137, i16x8ExtendHighU: 138, i16x8Shl: 139, i16x8ShrS: 140, i16x8ShrU: 141, i16x8Add: 142,
  i16x8AddSatS: 143, i16x8AddSatU: 144, i16x8Sub: 145, i16x8SubSatS: 146, i16x8SubSatU: 147, i16x8Mul: 149, i16x8MinS: 150,
  i16x8MinU: 151, i16x8MaxS: 152, i16x8MaxU: 153, i16x8AvgU: 155, i16x8ExtmulLowS: 156, i16x8ExtmulHighS: 157, i16x8ExtmulLowU: 158,
  i16x8ExtmulHighU: 159, i32x4Abs: 160, i32x4Bitmask: 164, i32x4ExtendLowS: 167, i32x4ExtendHighS: 168, i32x4ExtendLowU: 169,
  i32x4ExtendHighU: 170, i32x4Shl: 171, i32x4ShrS: 172, i32x4ShrU: 173, i32x4Add: 174, i32x4Sub: 177, i32x4Mul: 181, i32x4MinS: 182,
  i32x4MinU: 183, i32x4MaxS: 184, i32x4MaxU: 185, i32x4DotI16x8S: 186, i32x4ExtmulLowS: 188, i32x4ExtmulHighS: 189,
  i32x4ExtmulLowU: 190, i32x4ExtmulHighU: 191, i64x2Bitmask: 196, i64x2ExtendLowS: 199, i64x2ExtendHighS: 200, i64x2ExtendLowU: 201,
  i64x2ExtendHighU: 202, i64x2Shl: 203, i64x2ShrS: 204, i64x2ShrU: 205, i64x2Add: 206, i64x2Sub: 209, i64x2Mul: 213, i64x2Eq: 214,
  i64x2GtS: 217, i64x2ExtmulLowS: 220, i64x2ExtmulLowU: 222,
  f32x4Eq: 65, f32x4Lt: 67, f32x4Ge: 70, f64x2Eq: 71, f64x2Lt: 73, f64x2Ge: 76,
  f32x4Abs: 224, f32x4Sqrt: 227, f32x4Add: 228, f32x4Sub: 229, f32x4Mul: 230, f32x4Div: 231, f32x4Pmin: 234, f32x4Pmax: 235,
  f64x2Abs: 236, f64x2Sqrt: 239, f64x2Add: 240, f64x2Sub: 241, f64x2Mul: 242, f64x2Div: 243, f64x2Pmin: 246, f64x2Pmax: 247,
  f32x4DemoteF64x2Zero: 94, f64x2PromoteLowF32x4: 95, i32x4TruncSatF64x2SZero: 252, f64x2ConvertLowI32x4S: 254,
} as const;
