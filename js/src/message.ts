// Messages as they are written.

export const size = (text: string): number => new TextEncoder().encode(text).length;

export const compose = (type: string, data?: unknown, id?: number): string => JSON.stringify({ type, id, data });

// The type, if an application may send it.
export const named = (type: string): string => {
  if (typeof type !== 'string' || !/^[^$]/.test(type) || size(type) > 128) throw TypeError('bad type: ' + type);
  return type;
};
